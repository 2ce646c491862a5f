"""The environment of `make setup` for newer Pythons trains every model of `make from-scratch`.

There the lock installs another release of JAX than for Python 3.11.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command import ROOT

STAGES = ("vqvae", "prior", "upsampler1", "upsampler0")
SECONDS = 300  # for each command: a run that hangs is the fault that this test is for
NOT_COPIED = (".git", ".venv", ".cache", "demo", "build", "*.so", "*.egg-info", "__pycache__")


def find_python(version: str) -> str | None:
    """Returns an interpreter of a version: pyenv's, or of PATH if it runs."""
    for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")):
        return str(path)
    path = shutil.which(f"python{version}")
    runs = path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    return path if runs else None


def run(folder: Path, *command: str, seconds: int = SECONDS) -> None:
    environment = {name: value for name, value in os.environ.items() if "XLA" not in name}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_every_model_trains_with_what_the_lock_installs(version, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    folder = tmp_path / "jukejax"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    run(folder, "make", "setup", f"PYTHON={python}", f"CACHE={ROOT / '.cache'}", seconds=1200)

    def jukejax(verb: str, *flags: str) -> None:
        run(folder, ".venv/bin/python", "-m", f"jukejax.{verb}", *flags)

    corpus = ["--house_tracks=4", "--house_seconds=20", "--separator=none"]
    jukejax("prepare", "--input=house", *corpus, "--output=audio")
    for stage in STAGES:
        data = "audio" if stage == "vqvae" else "codes"
        flags = [
            f"--config=configs/from_scratch.py:{stage}",
            f"--workdir={stage}",
            "--config.steps=4",
        ]
        jukejax("train", *flags, f"--config.data.folder={data}")
        if stage == "vqvae":
            jukejax("encode", "--vqvae=vqvae", "--input=audio", "--output=codes")
    assert all((folder / stage / "summary.json").exists() for stage in STAGES)
