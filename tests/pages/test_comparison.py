"""The page of a comparison of bottlenecks, from workdirs without models."""

import pytest

from jukejax.data import audio
from jukejax.pages import comparison, pictures
from tests.support.command import run_in_process
from tests.support.pages import tone, write_json, write_sketch

CONFIGS = {"vq": {}, "kl": {"bottleneck": "kl"}, "none": {"bottleneck": "none"}}
HELDOUT = {"vq": {"entropy": 6.0}, "kl": {"kl_bits": 40.0}, "none": {}}
HOPS = [32, 256]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_picture", write_sketch)
    for number, (name, model) in enumerate(CONFIGS.items()):
        folder = tmp_path / name
        description = {"kind": "vqvae", "hops": HOPS, "sample_rate": 22_050}
        write_json(folder / "description.json", description | {"config": {"emb_dim": 4} | model})
        settings = {"model": {"width": 8} | model, "loss": {"kl": 0.1 * number}, "steps": 5}
        write_json(folder / "config.json", settings)
        heldout = {
            f"level_{level}/{key}": value
            for level in range(2)
            for key, value in ({"spectral_convergence": 0.1 * (number + 1)} | HELDOUT[name]).items()
        }
        write_json(folder / "summary.json", {"heldout": heldout})
        for stem in ("original", "level_0", "level_1"):
            path = folder / "reconstruction" / f"{stem}.wav"
            path.parent.mkdir(exist_ok=True)
            audio.write_wav(path, tone())
    return tmp_path


def compare(runs, names=("vq", "kl", "none"), code=0):
    flags = ",".join(str(runs / name) for name in names)
    return run_in_process("report", f"--compare={flags}", f"--output={runs / 'page'}", code=code)


def test_errors_rates_and_sounds_of_each_level(runs):
    lines = compare(runs).stdout.splitlines()
    # bits of a code x 22,050 Hz / hop: 6 and 40 bits, and 4 numbers of 32 bits
    assert "level 0, vq (VQ-VAE)" in lines[3]
    for line, error, rate in zip(
        lines[3:6], ("0.1000", "0.2000", "0.3000"), ("4.13", "27.56", "88.20"), strict=True
    ):
        assert line.endswith(f"spectral convergence {error}, {rate} kbit/s")
    page = (runs / "page" / "index.html").read_text()
    assert "All settings of size and training are equal." in page
    assert page.count("<audio") == 2 * 4


def test_an_unfair_comparison_says_what_differs(runs):
    settings = {"model": {"width": 16, "bottleneck": "kl"}, "loss": {"kl": 0.1}, "steps": 5}
    write_json(runs / "kl" / "config.json", settings)
    read = [comparison.read_codec_run(runs / name) for name in CONFIGS]
    assert comparison.list_differences(read) == ["model.width: 8, 16, 8"]
    assert "model.width: 8, 16, 8" in compare(runs).stdout


def test_what_cannot_be_compared_is_refused(runs):
    assert "names 1 run; give two or more" in compare(runs, ["vq"], code=2).stderr
    (runs / "kl" / "summary.json").unlink()
    assert "is not finished: it has no summary.json" in compare(runs, code=2).stderr
    write_json(runs / "none" / "description.json", {"kind": "prior"})
    names = ["vq", "none"]
    assert "is no working folder of a VQ-VAE's training" in compare(runs, names, code=2).stderr
    flags = (f"--compare={runs / 'vq'}", f"--vqvae={runs / 'vq'}", f"--output={runs / 'p'}")
    assert "remove --vqvae" in run_in_process("report", *flags, code=2).stderr
