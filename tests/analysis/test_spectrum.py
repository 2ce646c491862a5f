"""Level by band, and steady tones of decoders."""

import numpy as np
import pytest

from jukejax.analysis.spectrum import BANDS, CODE_RATE, SILENCE_DB, measure_spectrum

RATE = 44_100


def noise(seconds=8, gain=0.1):
    return np.random.default_rng(0).normal(0, gain, (int(seconds * RATE), 1)).astype(np.float32)


def sine(frequency, gain, seconds=8):
    time = np.arange(int(seconds * RATE)) / RATE
    return (gain * np.sin(2 * np.pi * frequency * time))[:, None].astype(np.float32)


@pytest.mark.parametrize(("frequency", "band"), [*zip((60, 600, 4000, 9000), BANDS, strict=True)])
def test_a_tone_is_in_one_band(frequency, band):
    figures = measure_spectrum(sine(frequency, 0.5))
    assert figures[band] == pytest.approx(20 * np.log10(0.5) - 3.01, abs=0.1)
    assert all(figures[other] < -60 for other in BANDS if other != band)


def test_tones_at_multiples_of_the_code_rate_are_found():
    assert measure_spectrum(noise())["code_tone_db"] < 3
    loud = noise() + sine(9 * CODE_RATE, 0.02)
    assert measure_spectrum(loud)["code_tone_db"] > 15
    between = noise() + sine(9.5 * CODE_RATE, 0.02)
    assert measure_spectrum(between)["code_tone_db"] < 3


def test_silence_and_short_sounds_have_figures():
    assert measure_spectrum(np.zeros((RATE, 2), np.float32))["bass_db"] == SILENCE_DB
    assert measure_spectrum(noise(0.1))["code_tone_db"] is None
