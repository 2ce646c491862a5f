"""Sounds that are filtered to match log magnitudes: noise, level, time, and windows."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jukejax.ops import bands
from jukejax.ops.magnitude_matching import find_reach, match_magnitudes
from jukejax.ops.turns import find_streams

RATE, SAMPLES = 44100, 32 * 1024
STREAMS = find_streams(
    (("strokes", 900, 16_000), ("tones", 0, 160), ("tones", 950, 2300), ("tones", 160, 950))
)
NOTES = (220.0, 277.18, 329.63, 1108.73)


def describe(sound):
    return [
        bands.log_magnitudes(jnp.asarray(sound[None], jnp.float32), *stream.turn, sample_rate=RATE)
        for stream in STREAMS
    ]


def match(sound, spectra, rounds=4, contrast=0.0):
    audio = jnp.asarray(sound[None], jnp.float32)
    result = match_magnitudes(
        audio, spectra, STREAMS, rounds=rounds, sample_rate=RATE, contrast=contrast
    )
    return np.asarray(result[0])


def measure_level(sound, low, high):
    """Mean power of the frequencies from `low` to `high`, in dB."""
    frequencies, density = scipy.signal.welch(sound, RATE, nperseg=8192)
    inside = (frequencies >= low) & (frequencies < high)
    return 10 * np.log10(density[inside].sum() * frequencies[1])


def make_chord():
    time = np.arange(SAMPLES) / RATE
    return sum(0.1 * np.cos(2 * np.pi * hz * time) for hz in NOTES)


def make_noise(scale=0.02):
    return scale * np.random.default_rng(0).standard_normal(SAMPLES)


def test_noise_between_the_notes_of_a_chord_falls_and_the_notes_stay():
    chord = make_chord()
    noisy = chord + make_noise()
    matched = match(noisy, describe(chord))
    for low, high in ((450, 1000), (1300, 2000), (4000, 12_000)):
        assert measure_level(matched, low, high) < measure_level(noisy, low, high) - 12
    for hz in NOTES:
        difference = measure_level(matched, hz - 10, hz + 10) - measure_level(
            chord, hz - 10, hz + 10
        )
        assert difference == pytest.approx(0, abs=1)
    middle = slice(4096, -4096)
    assert np.corrcoef(matched[middle], chord[middle])[0, 1] > 0.995


def test_a_contrast_moves_sound_from_between_the_semitones_to_their_centers():
    """Noise in the bands of partials becomes partials of the same level."""
    noise = make_noise(0.1)
    plain, narrow = (match(noise, describe(noise), contrast=contrast) for contrast in (0.0, 2.0))
    changes = {
        hz: measure_level(narrow, hz - 6, hz + 6) - measure_level(plain, hz - 6, hz + 6)
        for hz in [440 * 2 ** (step / 12) for step in (1, 1.5, 15, 15.5, 24, 24.5)]
    }
    low_center, low_between, *high = changes.values()
    assert low_center == pytest.approx(low_between, abs=1)  # the window does not resolve these
    for center, between in (high[:2], high[2:]):
        assert center - between > 5
        assert center > 0 > between
    for low, high_edge in ((500, 900), (900, 2200)):
        level = measure_level(plain, low, high_edge)
        assert measure_level(narrow, low, high_edge) == pytest.approx(level, abs=1.5)
    assert measure_level(narrow, 4000, 12_000) == pytest.approx(
        measure_level(plain, 4000, 12_000), abs=0.1
    )


def test_every_round_brings_log_magnitudes_nearer():
    target = describe(make_chord() + make_noise(0.002))
    errors = []
    for rounds in (0, 1, 2, 4):
        spectra = describe(match(make_chord() + make_noise(), target, rounds))
        errors.append([float(jnp.abs(a - b).mean()) for a, b in zip(spectra, target, strict=True)])
    for stream in (0, 2, 3):
        assert np.all(np.diff(np.array(errors)[:, stream]) < 0)


def test_a_sound_that_matches_stays_and_kicks_are_not_filtered():
    sound = make_chord() + make_noise()
    assert np.std(match(sound, describe(sound)) - sound) < 0.02 * np.std(sound)
    time = np.arange(SAMPLES) / RATE
    kick = 0.5 * np.cos(2 * np.pi * 60 * time) * np.exp(-20 * (time % 0.25))
    matched = match(sound + kick, describe(sound))
    assert measure_level(matched, 40, 80) == pytest.approx(measure_level(kick, 40, 80), abs=0.5)


def test_strokes_get_their_time():
    burst = make_noise(0.1)
    burst[: SAMPLES // 2] *= 0.01
    matched = match(make_noise(0.1), describe(burst))
    halves = matched[: SAMPLES // 2 - 512], matched[SAMPLES // 2 :]
    before, after = (measure_level(half, 3000, 12_000) for half in halves)
    assert after - before > 25
    assert after == pytest.approx(measure_level(burst[SAMPLES // 2 :], 3000, 12_000), abs=1.5)


def test_a_window_gives_what_the_whole_sound_gives():
    sound, spectra = make_chord() + make_noise(), describe(make_noise(0.05))
    whole, start = match(sound, spectra, rounds=2), 4096
    part = [
        logs[:, start // bands.HOPS[stream.turn[0]] :]
        for logs, stream in zip(spectra, STREAMS, strict=True)
    ]
    window, reach = match(sound[start:], part, rounds=2), find_reach(2)
    np.testing.assert_allclose(window[reach:], whole[start + reach :], atol=1e-6)
    assert np.abs(window[:4096] - whole[start : start + 4096]).max() > 1e-4
    assert np.array_equal(match(sound, spectra, rounds=0), sound.astype(np.float32))
