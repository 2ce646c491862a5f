"""Vocal removal: what repeats stays, what does not goes."""

import numpy as np
import pytest

from jukejax.analysis import fidelity
from jukejax.preparation import repet as separate

RATE = separate.SAMPLE_RATE


def loop_and_singer(seconds=12):
    """A two-second loop of noise bursts and chords; and a wandering voice that never repeats."""
    time = np.arange(2 * RATE) / RATE
    random = np.random.RandomState(0)
    loop = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220.0, 330.0, 415.0))
    for beat in range(4):
        start = beat * RATE // 2
        burst = np.exp(-np.arange(RATE // 4) / 2000) * random.randn(RATE // 4)
        loop[start : start + RATE // 4] += 0.2 * burst
        kick = np.sin(2 * np.pi * (40 + 10 * beat) * time[: RATE // 4])
        loop[start : start + RATE // 4] += 0.3 * kick
    backing = np.tile(loop, seconds // 2)
    steps = np.repeat(random.uniform(300, 1200, seconds * 4), RATE // 4)
    voice = 0.15 * np.sin(2 * np.pi * np.cumsum(steps) / RATE)
    return (
        np.stack([backing, 0.8 * backing], 1).astype(np.float32),
        np.stack([voice, voice], 1).astype(np.float32),
    )


def test_repet_brings_the_instrumental_nearer_to_the_truth():
    backing, voice = loop_and_singer()
    before = fidelity.si_sdr(backing + voice, backing)
    after = fidelity.si_sdr(separate.separate(backing + voice, "repet"), backing)
    assert after > before + 5


def test_repet_leaves_a_pure_loop_alone():
    backing, _ = loop_and_singer()
    assert fidelity.si_sdr(separate.separate(backing, "repet"), backing) > 20


def test_repet_keeps_shape_and_type_whatever_the_length():
    for samples, channels in ((1, 1), (100, 2), (3 * RATE, 1), (5 * RATE + 17, 2)):
        sound = 0.1 * np.random.RandomState(0).randn(samples, channels).astype(np.float32)
        result = separate.separate(sound, "repet")
        assert result.shape == sound.shape
        assert result.dtype == np.float32


def test_blocks_cover_everything_and_fade_without_a_seam(monkeypatch):
    backing, voice = loop_and_singer(30)
    mix = backing + voice
    monkeypatch.setattr(separate, "BLOCK", 12 * RATE)
    monkeypatch.setattr(separate, "_repet", lambda block: block * 0.5)
    np.testing.assert_allclose(separate.separate(mix, "repet"), mix * 0.5, atol=1e-6)


def test_block_starts_cover_and_overlap():
    for length in (1, 99, 100, 101, 180, 181, 260, 1000):
        starts = separate.block_starts(length, 100, 20)
        ends = [min(start + 100, length) for start in starts]
        assert starts[0] == 0
        assert ends[-1] == length
        overlaps = [end - start for end, start in zip(ends[:-1], starts[1:], strict=True)]
        assert all(overlap >= 20 for overlap in overlaps)


def test_none_returns_the_mix_and_unknown_methods_are_refused():
    sound = np.ones((10, 2), np.float32)
    assert separate.separate(sound, "none") is sound
    with pytest.raises(ValueError, match="no separator 'magic'; there are none, repet"):
        separate.separate(sound, "magic")


def test_silence_stays_silence():
    sound = np.zeros((10 * RATE, 2), np.float32)
    np.testing.assert_array_equal(separate.separate(sound, "repet"), sound)


def test_si_sdr_is_the_ratio_whatever_the_scale():
    random = np.random.RandomState(0)
    truth = random.randn(100_000, 2)
    noise = random.randn(100_000, 2)
    noise -= truth * np.sum(noise * truth) / np.sum(truth**2)
    noise *= 0.1 * np.linalg.norm(truth) / np.linalg.norm(noise)
    assert fidelity.si_sdr(truth + noise, truth) == pytest.approx(20, abs=1e-6)
    assert fidelity.si_sdr(3 * (truth + noise), truth) == pytest.approx(20, abs=1e-6)
