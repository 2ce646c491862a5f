"""Removal of vocals by REPET-SIM: repeated sound is kept, other sound is removed."""

import numpy as np

from jukejax.analysis import fidelity
from jukejax.preparation import repet

RATE = repet.SAMPLE_RATE


def remove_vocals(mix):
    return np.concatenate(list(repet.remove_vocals(mix)))


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
    after = fidelity.si_sdr(remove_vocals(backing + voice), backing)
    assert after > before + 5


def test_repet_does_not_change_a_pure_loop():
    backing, _ = loop_and_singer()
    assert fidelity.si_sdr(remove_vocals(backing), backing) > 20


def test_repet_keeps_shape_and_type_whatever_the_length():
    for samples, channels in ((1, 1), (100, 2), (3 * RATE, 1), (5 * RATE + 17, 2)):
        sound = 0.1 * np.random.RandomState(0).randn(samples, channels).astype(np.float32)
        result = remove_vocals(sound)
        assert result.shape == sound.shape
        assert result.dtype == np.float32


def test_blocks_cover_everything_and_fade_without_a_seam(monkeypatch):
    backing, voice = loop_and_singer(30)
    mix = backing + voice
    monkeypatch.setattr(repet, "BLOCK", 12 * RATE)
    monkeypatch.setattr(repet, "_filter_block", lambda block: block * 0.5)
    np.testing.assert_allclose(remove_vocals(mix), mix * 0.5, atol=1e-6)


def test_block_starts_cover_and_overlap():
    for length in (1, 99, 100, 101, 180, 181, 260, 1000):
        starts = repet.block_starts(length, 100, 20)
        ends = [min(start + 100, length) for start in starts]
        assert starts[0] == 0
        assert ends[-1] == length
        overlaps = [end - start for end, start in zip(ends[:-1], starts[1:], strict=True)]
        assert all(overlap >= 20 for overlap in overlaps)


def test_silence_stays_silence():
    sound = np.zeros((10 * RATE, 2), np.float32)
    np.testing.assert_array_equal(remove_vocals(sound), sound)
