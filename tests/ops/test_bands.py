"""Descriptions of the audio in bands of frequencies."""

import functools

import jax
import numpy as np
import pytest

from jukejax.ops.bands import FLOORS, HOPS, count_bands, describe_band, log_magnitudes

RATE = 44_100
tones = jax.jit(functools.partial(log_magnitudes, kind="tones", low=0, high=2300, sample_rate=RATE))


def sine(frequency, phase=0.0, length=16_384, gain=0.1):
    time = np.arange(length) / RATE
    return (gain * np.sin(2 * np.pi * frequency * time + phase)).astype(np.float32)[None]


@pytest.mark.parametrize("semitone", [-3, 12, 40])
def test_a_tone_is_in_the_band_of_its_semitone(semitone):
    logs = np.asarray(tones(sine(55 * 2 ** (semitone / 12))))
    assert logs.shape == (1, 16_384 // HOPS["tones"], count_bands("tones", 0, 2300))
    assert (logs[0, 8:-8].argmax(axis=-1) == semitone + 6).all()


def test_tones_do_not_tell_the_phase():
    first, second = (np.asarray(tones(sine(440.0, phase))) for phase in (0.0, 2.0))
    middle = slice(8, -8)  # without the ends, beyond which there are zeros
    loud = first[0, middle] > np.log(FLOORS["tones"]) + 1
    np.testing.assert_allclose(second[0, middle][loud], first[0, middle][loud], atol=0.03)


def test_strokes_tell_the_time():
    audio = np.zeros((1, 4096), np.float32)
    audio[0, 2048:2058] = 0.5
    logs = log_magnitudes(audio, "strokes", 900, 16_000, sample_rate=RATE)
    loudest = np.asarray(logs).sum(axis=-1)[0].argmax()
    assert abs(int(loudest) * HOPS["strokes"] - 2048) <= HOPS["strokes"]


@pytest.mark.parametrize("kind", ["tones", "strokes"])
def test_silence_is_at_the_floor(kind):
    logs = log_magnitudes(np.zeros((1, 4096), np.float32), kind, 0, 2000, sample_rate=RATE)
    np.testing.assert_allclose(logs, np.log(FLOORS[kind]), rtol=1e-4)


def test_a_waveform_is_described_with_its_phase_and_within_its_band():
    describe = functools.partial(describe_band, hop=128, sample_rate=RATE)
    first, second = (describe(sine(440.0, x), "waveform", 200, 900) for x in (0.0, np.pi))
    bins = first.shape[-1] // 3  # real parts, imaginary parts, log magnitudes
    middle = slice(8, -8)
    phases = [np.asarray(x)[0, middle, : 2 * bins] for x in (first, second)]
    np.testing.assert_allclose(phases[1], -phases[0], atol=1e-3)
    other = describe(sine(440.0), "waveform", 2000, 4000)
    assert float(np.abs(other[0, middle, : other.shape[-1] // 3 * 2]).max()) < 0.2
    assert float(np.abs(first).max()) > 0.5


@pytest.mark.parametrize(("kind", "hop"), [("tones", 1024), ("strokes", 512), ("waveform", 32)])
def test_a_code_has_one_description(kind, hop):
    description = describe_band(sine(300.0), kind, 100, 900, hop=hop, sample_rate=RATE)
    assert description.shape[:2] == (1, 16_384 // hop)
    assert float(np.abs(description).max()) < 10
