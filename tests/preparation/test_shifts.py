"""Copies at another pitch or tempo: their sound is changed as far as their labels say."""

import numpy as np
import pytest

from jukejax.analysis import rhythm
from jukejax.data import corpus
from jukejax.data.dataset_file import Track
from jukejax.preparation.shifts import Shift, parse_shifts
from tests.support.command import run_in_process

RATE = 44100


def find_peak_hz(sound):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return spectrum.argmax() * RATE / len(sound)


def make_tone(seconds=2.0):
    """Two channels: 440 Hz, and the same at half the level."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 20000 * np.sin(2 * np.pi * 440 * time)
    return np.stack([tone, tone / 2], axis=1).astype(np.int16)


@pytest.mark.parametrize(
    ("shift", "hz", "seconds"),
    [
        (Shift(semitones=3), 440 * 2 ** (3 / 12), 2.0),
        (Shift(semitones=-12), 220, 2.0),
        (Shift(tempo=1.25), 440, 1.6),
        (Shift(tempo=0.8), 440, 2.5),
    ],
)
def test_pitch_and_length_change_apart(shift, hz, seconds):
    changed = shift.change_sound(make_tone())
    assert changed.dtype == np.int16
    assert changed.shape == (round(seconds * RATE), 2)
    middle = changed[RATE // 4 : -RATE // 4].astype(np.float64)
    np.testing.assert_allclose(find_peak_hz(middle[:, 0]), hz, atol=1.0)
    levels = np.sqrt(np.square(middle).mean(axis=0))
    np.testing.assert_allclose(levels[0] / levels[1], 2, rtol=0.02)


def test_labels_follow_the_sound():
    track = Track(
        "t", bpm=120.0, first_downbeat=4410.0, key="A minor", lyrics="la", lyric_times=((0, 1.0),)
    )
    faster = Shift(tempo=1.25).change_labels(track)
    assert (faster.bpm, faster.first_downbeat, faster.key) == (150.0, 3528.0, "A minor")
    assert faster.lyric_times == ((0, 0.8),)
    assert (faster.name, faster.tempo_factor) == ("t (tempo x 1.25)", 1.25)
    higher = Shift(semitones=3).change_labels(track)
    assert (higher.bpm, higher.first_downbeat, higher.key) == (120.0, 4410.0, "C minor")
    assert (higher.name, higher.pitch_shift) == ("t (+3 semitones)", 3)
    assert Shift(semitones=-2).change_labels(track).key == "G minor"
    assert Shift(tempo=2.0).change_labels(Track("t", bpm=300.0, first_downbeat=1.0)).bpm is None
    assert Shift(semitones=1).change_labels(Track("t")).grid == Track("t").grid
    assert "pitch_shift" not in track.describe()
    assert higher.describe()["pitch_shift"] == 3


@pytest.mark.parametrize(
    ("pitches", "tempos", "message"),
    [
        (["0"], [], "--aug_pitch=0 must be whole semitones"),
        (["1.5"], [], "--aug_pitch=1.5 must be whole semitones"),
        (["13"], [], "--aug_pitch=13 must be"),
        ([], ["1"], "--aug_tempo=1 must be factors"),
        ([], ["fast"], "--aug_tempo=fast must be factors"),
        ([], ["2.5"], "--aug_tempo=2.5 must be factors"),
        (["1", "+1"], [], "a number twice"),
    ],
)
def test_bad_shifts_are_one_line(pitches, tempos, message):
    with pytest.raises(ValueError, match=message):
        parse_shifts(pitches, tempos)


def test_prepare_stores_copies_of_training_tracks_only(tmp_path):
    flags = ["--input=house", "--separator=none", "--house_tracks=2", "--house_seconds=12"]
    flags += ["--heldout=0.5", "--workers=1", "--aug_pitch=-2", "--aug_tempo=1.1"]
    run_in_process("prepare", *flags, f"--output={tmp_path}")
    dataset = corpus.open_dataset(tmp_path)
    plain, lower, faster = dataset.tracks("train")
    assert len(dataset.tracks("heldout")) == 1
    assert (lower.pitch_shift, faster.tempo_factor) == (-2, 1.1)
    assert (lower.samples, lower.bpm) == (plain.samples, plain.bpm)
    assert lower.key != plain.key
    np.testing.assert_allclose(faster.samples, plain.samples / 1.1, atol=1)
    for number, track in enumerate((plain, lower, faster)):
        measured = rhythm.measure_rhythm(dataset.read_track("train", number), RATE).bpm
        np.testing.assert_allclose(measured, track.bpm, rtol=0.01)
