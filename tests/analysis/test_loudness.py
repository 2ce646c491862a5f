"""Loudness, true peak, silence, clipping and DC, against answers known by hand."""

import numpy as np
import pytest

from jukejax.analysis import loudness

RATE = 44_100


def sine(hz, seconds=3.0, phase=0.0, channels=2):
    time = np.arange(round(seconds * RATE)) / RATE
    return np.repeat(np.sin(2 * np.pi * hz * time + phase)[:, None], channels, axis=1)


def test_loudness_of_the_calibration_tone():
    # ITU-R BS.1770: a 0 dBFS sine of 997 Hz in one channel is -3.01 LKFS, in both 0 LKFS.
    assert loudness.measure_loudness(sine(997)) == pytest.approx(0.0, abs=0.05)
    assert loudness.measure_loudness(0.1 * sine(997)) == pytest.approx(-20, abs=0.05)
    assert loudness.measure_loudness(np.zeros((RATE, 2))) is None


def test_the_true_peak_lies_between_the_samples():
    # At a quarter of the sample rate and 45 degrees all samples are at 0.707 of the peak.
    tone = sine(RATE / 4, phase=np.pi / 4)
    faded = tone * np.hanning(len(tone))[:, None]  # no edges that ring
    assert 20 * np.log10(np.abs(faded).max()) == pytest.approx(-3.01, abs=0.01)
    assert loudness.true_peak_db(faded) == pytest.approx(0, abs=0.05)


def test_blockwise_oversampling_gives_the_same_peak(monkeypatch):
    sound = np.random.default_rng(0).normal(0, 0.1, (3 * RATE, 2)).astype(np.float32)
    expected = loudness.true_peak_db(sound)
    monkeypatch.setattr(loudness, "_BLOCK", 10_000)
    assert loudness.true_peak_db(sound) == pytest.approx(expected, abs=1e-3)


def test_silence_clipping_and_dc_are_counted():
    sound = 0.5 * sine(200, 2.0)
    sound[RATE:] = 0
    assert loudness.silent_share(sound) == pytest.approx(0.5, abs=0.03)
    assert loudness.dc_offset(sound + np.array([0.0, -0.25])) == pytest.approx(0.25, abs=1e-3)
    clean = 0.9 * sine(200)
    assert loudness.clipped_share(clean) == 0
    clipped = np.clip(1.2 * sine(200), -1, 1)
    share = 2 / np.pi * np.arccos(1 / 1.2)  # of its time a sine is above 1 / 1.2 of its peak
    assert loudness.clipped_share(clipped) == pytest.approx(share, rel=0.05)
    touching = clean.copy()
    touching[100] = 1.0  # a single sample at full scale is no clipped peak
    assert loudness.clipped_share(touching) == 0
    assert set(loudness.measure_level(clean)) == {
        "loudness_lufs",
        "true_peak_db",
        "silent",
        "clipped",
        "dc",
    }
