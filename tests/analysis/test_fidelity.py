"""Fidelity against OpenAI's golden figures, those of training, and sounds of known error."""

from pathlib import Path

import numpy as np
import pytest

from jukejax.analysis import codebook, fidelity
from jukejax.ops import stft
from tests.golden.kinds.case import Case, assert_close

GOLDEN = Path(__file__).parents[1] / "golden"
RATE = 44_100


@pytest.fixture(scope="module")
def case():
    return Case(GOLDEN / "audio_losses.npz")


@pytest.fixture(scope="module")
def pairs(case):
    return [(a[:, 0], b[:, 0]) for a, b in zip(case["in/x_target"], case["in/x_pred"], strict=True)]


@pytest.fixture
def music():
    time = np.arange(6 * RATE) / RATE
    random = np.random.default_rng(0)
    tone = sum(np.sin(2 * np.pi * hz * time) / (1 + i) for i, hz in enumerate((110, 440, 1500)))
    return 0.2 * tone * (1 + np.sin(3 * time)) + 0.01 * random.normal(size=len(time))


def compute_magnitudes(sound, resolution):
    return np.concatenate(list(fidelity._magnitude_blocks(sound, resolution)))


def compute_multispectral_distance(target, output):
    return np.mean([fidelity.compare_spectra(target, output, x).distance for x in fidelity.MULTI])


def test_the_resolutions_equal_those_of_training():
    for resolution, trained in zip(
        (fidelity.SINGLE, *fidelity.MULTI), (stft.SINGLE, *stft.MULTI), strict=True
    ):
        assert resolution == (trained.n_fft, trained.hop, trained.window)


def test_spectra_equal_the_golden_ones(case, pairs):
    for name, shape in zip(
        ("spec_default", "spec_0", "spec_1", "spec_2"),
        (fidelity.SINGLE, *fidelity.MULTI),
        strict=True,
    ):
        spectra = np.stack([compute_magnitudes(target, shape).T for target, _ in pairs])
        assert_close(spectra, case[f"out/{name}"], rtol=1e-5, name=name)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("spectral_loss", lambda *pair: fidelity.compare_spectra(*pair).distance),
        ("multispectral_loss", compute_multispectral_distance),
        ("spectral_convergence", fidelity.spectral_convergence),
    ],
)
def test_distances_equal_the_golden_ones(case, pairs, name, measure):
    found = [measure(target, output) for target, output in pairs]
    assert_close(found, case[f"out/{name}"], rtol=1e-5, name=name)


def test_log_magnitudes_equal_the_golden_ones(case, pairs):
    found = np.mean([fidelity.compare_spectra(a, b).log_distance for a, b in pairs])
    assert_close(found, case["out/log_magnitude_loss"], rtol=1e-5)


def test_codebook_figures_equal_the_golden_ones():
    case, num_dead = Case(GOLDEN / "bottleneck_update.npz"), 0
    size = case["param/k"].shape[0]
    for step in range(3):
        out = case.group(f"out/s{step}/")
        counts = codebook.count_codes(out["x_l"], size)
        found = codebook.measure_usage(counts)
        assert_close(found.entropy_bits * np.log(2), out["metrics/entropy"], rtol=1e-5)
        assert found.used == out["metrics/used_curr"]
        assert found.dead == size - found.used
        alive = codebook.measure_usage(out["k_elem"], threshold=1.0)
        assert alive.used == out["metrics/usage"]
        num_dead += found.dead
    assert num_dead > 0  # the case has dead codes


def test_perplexity_of_an_even_codebook_is_its_size():
    found = codebook.measure_usage(np.array([5, 5, 5, 5, 0, 0, 0, 0]))
    assert found.to_dict() == {"usage": 0.5, "dead": 0.5, "perplexity": 4.0, "entropy_bits": 2.0}
    even = codebook.measure_usage(np.full(4, 5))
    single = codebook.measure_usage(np.array([0, 9, 0]))
    assert (even.used, even.entropy_bits, even.perplexity) == (4, 2.0, 4.0)
    assert (single.used, single.entropy_bits, single.perplexity) == (1, 0.0, 1.0)
    with pytest.raises(ValueError, match="another VQ-VAE"):
        codebook.count_codes(np.array([1, 8]), 8)
    with pytest.raises(ValueError, match="at least one code"):
        codebook.measure_usage(np.zeros(8, int))


def test_a_scaled_copy_has_the_convergence_of_its_scale(music):
    assert fidelity.spectral_convergence(music, 0.9 * music) == pytest.approx(0.1)
    found = fidelity.measure_fidelity(music, 0.9 * music, RATE)
    assert found["spectral_convergence_db"] == pytest.approx(-20)
    assert found["si_sdr_db"] > 100  # SI-SDR is invariant to scale
    assert found["mel_db"] == pytest.approx(-20 * np.log10(0.9), abs=0.01)


def test_noise_20_db_below_has_an_si_sdr_of_20_db(music):
    noise = np.random.default_rng(1).normal(size=len(music))
    noise *= 0.1 * np.linalg.norm(music) / np.linalg.norm(noise)
    found = fidelity.measure_fidelity(music, music + noise, RATE)
    assert found["si_sdr_db"] == pytest.approx(20, abs=0.1)
    softer = fidelity.measure_fidelity(music, music + 0.1 * noise, RATE)
    for name in ("spectral_convergence_db", "multi_resolution_stft", "mel_db"):
        assert softer[name] < found[name], name


def test_silence_and_short_sounds_are_handled(music):
    silence = np.zeros_like(music)
    assert fidelity.spectral_convergence(silence, music) == 0.0
    assert fidelity.spectral_convergence(music, silence) == pytest.approx(1)
    perfect = fidelity.measure_fidelity(silence, silence, RATE)
    for figures in (perfect, fidelity.measure_fidelity(silence, music, RATE)):
        relative = ("spectral_convergence_db", "multi_resolution_stft", "si_sdr_db")
        assert [figures[name] for name in relative] == [None, None, None]
    assert perfect["mel_db"] == 0.0
    lost = fidelity.measure_fidelity(music, silence, RATE)
    assert lost["spectral_convergence_db"] == pytest.approx(0)
    assert lost["si_sdr_db"] is None
    with pytest.raises(ValueError, match="1024 samples are too few"):
        fidelity.spectral_convergence(music[:1024], music[:1024])


def test_long_sounds_are_measured_in_blocks_with_the_same_result(music, monkeypatch):
    expected = fidelity.measure_fidelity(music, np.roll(music, 7), RATE)
    monkeypatch.setattr(fidelity, "_BLOCK", 100)
    blocks = fidelity.measure_fidelity(music, np.roll(music, 7), RATE)
    assert blocks == pytest.approx(expected, rel=1e-9)


def test_the_longer_of_a_pair_is_truncated(music):
    cut = fidelity.measure_fidelity(music, music[:-5000], RATE)
    assert cut == fidelity.measure_fidelity(music[:-5000], music[:-5000], RATE)


@pytest.mark.slow
def test_visqol_decreases_with_noise(music):
    pytest.importorskip("visqol")
    noise = np.random.default_rng(1).normal(size=len(music))
    same, little, much = (
        fidelity.visqol(music, music + gain * noise, RATE) for gain in (0, 0.001, 0.1)
    )
    assert same > 4.5
    assert same > little > much
    assert much < 3


def test_a_missing_visqol_is_named(monkeypatch):
    import sys

    fidelity._load_visqol.cache_clear()
    monkeypatch.setitem(sys.modules, "visqol", None)
    assert not fidelity.has_visqol()
    with pytest.raises(ValueError, match=r"pip install -e .*\[visqol\]"):
        fidelity.visqol(np.ones(RATE), np.ones(RATE), RATE)


def test_si_sdr_does_not_depend_on_scale():
    random = np.random.RandomState(0)
    truth = random.randn(100_000, 2)
    noise = random.randn(100_000, 2)
    noise -= truth * np.sum(noise * truth) / np.sum(truth**2)
    noise *= 0.1 * np.linalg.norm(truth) / np.linalg.norm(noise)
    assert fidelity.si_sdr(truth + noise, truth) == pytest.approx(20, abs=1e-6)
    assert fidelity.si_sdr(3 * (truth + noise), truth) == pytest.approx(20, abs=1e-6)
