"""Log spectra in bands."""

import jax
import numpy as np
import pytest

from jukejax.ops.bands import FLOOR, LOWEST, NUM_BANDS, SEMITONES, log_bands

RATE = 44_100
compute = jax.jit(log_bands, static_argnums=1)


def sine(frequency, phase=0.0, length=16_384, gain=0.1):
    time = np.arange(length) / RATE
    return (gain * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)[None]


@pytest.mark.parametrize("band", [12, 33, 60])
def test_a_tone_is_in_the_band_of_its_semitone(band):
    tone = LOWEST * 2 ** ((band + 1) / 12)
    bands = np.asarray(compute(sine(tone), 128))
    assert bands.shape == (1, 128, NUM_BANDS)
    assert (bands[0, 32:-32, :SEMITONES].argmax(axis=-1) == band).all()


def test_bands_do_not_tell_the_phase():
    first, second = (np.asarray(compute(sine(440.0, phase), 128)) for phase in (0.0, 2.0))
    middle = slice(32, -32)  # without the reflected edges
    loud = first[0, middle] > np.log(FLOOR) + 1
    np.testing.assert_allclose(second[0, middle][loud], first[0, middle][loud], atol=0.03)


def test_silence_is_at_the_floor():
    bands = compute(np.zeros((1, 16_384), np.float32), 128)
    np.testing.assert_allclose(bands, np.log(FLOOR), rtol=1e-5)
