"""Keys of sounds with known notes."""

import numpy as np
import pytest

from jukejax.analysis.chroma import compute_chroma
from jukejax.analysis.musical_key import estimate_key, measure_harmony
from jukejax.data.grid import TONICS

RATE = 22_050


def play_chords(chords, *, seconds=1.0, tuning=0.0):
    """Returns chords of MIDI notes with four partials, one after the other."""
    time = np.arange(int(seconds * RATE)) / RATE
    sounds = []
    for notes in chords:
        hertz = [440 * 2 ** ((note - 69 + tuning) / 12) for note in notes]
        partials = [np.sin(2 * np.pi * n * f * time) / n**2 for f in hertz for n in range(1, 5)]
        sounds.append(np.sum(partials, axis=0) * np.exp(-2 * time))
    return (0.1 * np.concatenate(sounds)).astype(np.float32)


MINOR = [(57, 60, 64), (50, 53, 57, 62), (52, 55, 59, 64), (57, 60, 64)]  # i iv v i in A
MAJOR = [(60, 64, 67), (53, 57, 60, 65), (55, 59, 62, 65), (60, 64, 67)]  # I IV V7 I in C


def shift_notes(chords, semitones):
    return [tuple(note + semitones for note in chord) for chord in chords]


@pytest.mark.parametrize("semitones", [0, 4, 7])
@pytest.mark.parametrize("tuning", [0.0, 0.3])
def test_the_key_of_a_cadence_is_recognized_at_any_tonic_and_tuning(semitones, tuning):
    for chords, tonic, mode in ((MINOR, 9, "minor"), (MAJOR, 0, "major")):
        sound = play_chords(shift_notes(4 * chords, semitones), tuning=tuning)
        key, _ = estimate_key(sound, RATE)
        assert key == f"{TONICS[(tonic + semitones) % 12]} {mode}"


@pytest.mark.parametrize(("bass", "expected"), [(45, "A minor"), (36, "C major"), (40, "E minor")])
def test_the_bass_decides_between_the_keys_of_a_ninth_chord(bass, expected):
    sound = play_chords([(bass, 57, 60, 64, 67, 71)], seconds=10.0)  # A C E G B
    assert estimate_key(sound, RATE)[0] == expected


def test_harmony_has_the_share_of_each_chord():
    harmony = measure_harmony(play_chords([*3 * MINOR[:1], *MAJOR[:1]], seconds=4.0), RATE)
    assert harmony.minor[9] == pytest.approx(0.75, abs=0.05)
    assert harmony.major[0] == pytest.approx(0.25, abs=0.05)
    assert np.sum(harmony.major) + np.sum(harmony.minor) == pytest.approx(1)
    assert set(np.argsort(harmony.notes)[-4:]) == {9, 0, 4, 7}


def test_chroma_are_those_of_the_notes_in_their_bands():
    chroma = compute_chroma(play_chords([(33, 64)], seconds=4.0), RATE)  # A1, 55 Hz, and E4
    assert chroma.bass.shape == chroma.harmony.shape == (1 + 2 * RATE // 512, 12)
    assert chroma.bass.sum(axis=0).argmax() == 9
    assert chroma.harmony.sum(axis=0).argmax() == 4


def test_noise_has_no_key_and_a_drone_no_clear_key():
    noise = np.random.RandomState(0).standard_normal(10 * RATE).astype(np.float32)
    assert estimate_key(noise, RATE) == (None, 0.0)
    assert estimate_key(play_chords([(57,)], seconds=10.0), RATE)[1] < 0.5


@pytest.mark.parametrize("length", [0, 1, 100, 5000, RATE])
def test_silence_and_very_short_sounds_have_no_key(length):
    assert estimate_key(np.zeros(length, np.float32), RATE) == (None, 0.0)
    estimate_key(np.ones(length, np.float32), RATE)
