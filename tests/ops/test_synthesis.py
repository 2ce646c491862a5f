"""Sounds of log magnitudes: their pitch, level and time, and their independence of windows."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jukejax.ops import bands, synthesis
from jukejax.ops.turns import find_streams

RATE, SAMPLES = 44100, 32 * 1024
STREAMS = find_streams((("strokes", 900, 16000), ("tones", 0, 160), ("tones", 160, 2300)))


def describe(sound):
    return [
        bands.log_magnitudes(jnp.asarray(sound[None], jnp.float32), *stream.turn, sample_rate=RATE)
        for stream in STREAMS
    ]


def synthesize(spectra, start=0):
    sound = synthesis.synthesize_streams(spectra, STREAMS, start, sample_rate=RATE)
    return np.asarray(sound[0])


def measure_power(sound, low, high):
    """Mean power of the frequencies from `low` to `high`."""
    frequencies, density = scipy.signal.welch(sound, RATE, nperseg=8192)
    inside = (frequencies >= low) & (frequencies < high)
    return density[inside].sum() * frequencies[1]


@pytest.mark.parametrize("pitch", [55.0, 110.0, 220.0, 440.0, 1760.0])
def test_a_tone_keeps_its_pitch_and_level(pitch):
    tone = 0.2 * np.cos(2 * np.pi * pitch * np.arange(SAMPLES) / RATE)
    sound = synthesize(describe(tone))[4096:-4096]
    frequencies, density = scipy.signal.welch(sound, RATE, nperseg=16384)
    assert frequencies[density.argmax()] == pytest.approx(pitch, abs=RATE / 16384)
    assert 10 * np.log10(np.mean(sound**2) / np.mean(tone**2)) == pytest.approx(0, abs=1)


def test_notes_of_a_chord_sound_and_nothing_between_them():
    time = np.arange(SAMPLES) / RATE
    chord = sum(0.1 * np.cos(2 * np.pi * hz * time) for hz in (220.0, 277.18, 329.63))
    sound = synthesize(describe(chord))[4096:-4096]
    notes = sum(measure_power(sound, hz - 10, hz + 10) for hz in (220.0, 277.18, 329.63))
    assert notes > 0.95 * np.mean(sound**2)


def test_noise_keeps_its_level_and_its_time():
    noise = 0.1 * np.random.default_rng(0).standard_normal(SAMPLES)
    noise[: SAMPLES // 2] = 0
    sound = synthesize(describe(noise))
    for low, high in ((2500, 6000), (6000, 12000)):
        ratio = measure_power(sound, low, high) / measure_power(noise, low, high)
        assert 10 * np.log10(ratio) == pytest.approx(0, abs=1)
    halves = sound[: SAMPLES // 2 - 512], sound[SAMPLES // 2 :]
    high_pass = scipy.signal.butter(4, 2500, "high", fs=RATE, output="sos")
    before, after = (np.mean(scipy.signal.sosfilt(high_pass, half) ** 2) for half in halves)
    assert before < 1e-4 * after


@pytest.mark.parametrize("hours", [0, 5])
def test_a_window_sounds_as_the_whole_track(hours):
    random, offset = np.random.default_rng(1), hours * 3600 * RATE // 1024 * 1024
    sound = 0.1 * random.standard_normal(SAMPLES)
    spectra, begin = describe(sound), 8 * 1024
    whole = synthesize(spectra, offset)
    parts = [
        logs[:, begin // bands.HOPS[stream.turn[0]] :]
        for stream, logs in zip(STREAMS, spectra, strict=True)
    ]
    window = synthesize(parts, offset + begin)
    margin = bands.count_window("tones")  # of attacks, which compare with the frames around
    np.testing.assert_allclose(window[margin:], whole[begin + margin :], atol=1e-5)


def test_a_kick_begins_when_it_began():
    streams = find_streams((("strokes", 0, 900), ("tones", 0, 160)))
    sound, begin = np.zeros(SAMPLES), 16_000
    decay = np.exp(-np.arange(8000) / 2500)
    sound[begin : begin + 8000] = 0.3 * np.sin(2 * np.pi * 60 * np.arange(8000) / RATE) * decay
    audio = jnp.asarray(sound[None], jnp.float32)
    spectra = [bands.log_magnitudes(audio, *stream.turn, sample_rate=RATE) for stream in streams]
    parts = {}
    for name, selected in (("with strokes", slice(None)), ("tones alone", slice(1, None))):
        kick = synthesis.synthesize_streams(
            spectra[selected], streams[selected], 0, sample_rate=RATE
        )
        power = np.square(np.asarray(kick[0]))
        parts[name] = power[:begin].sum() / power.sum()
    assert parts["with strokes"] < 0.01 < 0.05 < parts["tones alone"]


def test_a_reference_has_the_phases_of_the_sound_and_no_strokes():
    random = np.random.default_rng(0)
    time = np.arange(SAMPLES) / RATE
    notes = sum(0.1 * np.cos(2 * np.pi * hz * time + 2 * i) for i, hz in enumerate((220.0, 554.37)))
    sound = notes + 0.02 * random.standard_normal(SAMPLES)
    audio = jnp.asarray(sound[None], jnp.float32)
    spectra = describe(sound)

    def correlate(start, audio=None):
        reference = synthesis.synthesize_references(
            spectra, STREAMS, start, audio, sample_rate=RATE
        )
        return np.corrcoef(np.asarray(reference[0])[4096:-4096], notes[4096:-4096])[0, 1]

    assert correlate(0, audio) > 0.98
    assert correlate(1024 * 12345, audio) > 0.98, "phases are those of the sound wherever it begins"
    assert abs(correlate(0)) < 0.9


def test_the_shortest_sound_is_one_code_of_every_stream():
    streams = find_streams((("strokes", 0, 900), ("tones", 0, 160)))
    spectra = [jnp.zeros((1, 8, 8)), jnp.zeros((1, 2, bands.count_bands("tones", 0, 160)))]
    sound = synthesis.synthesize_streams(spectra, streams, 0, sample_rate=RATE)
    assert sound.shape == (1, 1024)


def test_a_reference_needs_tones():
    strokes = STREAMS[:1]
    spectra = [jnp.zeros((1, 4, 24))]
    with pytest.raises(ValueError, match="no turns of tones from 160 Hz on"):
        synthesis.synthesize_references(spectra, strokes, 0, sample_rate=RATE)
