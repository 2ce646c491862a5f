"""Faults of recordings and their repair, in one block and in many."""

import numpy as np
import pytest
import soundfile

from jukejax.data import audio, repair
from tests.support.sound_files import RATE, make_song


def left():
    return make_song(1.0, channels=1)[:, 0]


@pytest.mark.parametrize(
    ("right", "expected", "note"),
    [
        (lambda x: -x, lambda x: np.stack([x, x], 1), "anti-phase"),
        (lambda x: 0 * x, lambda x: x[:, None], "the right channel is silent"),
        (lambda x: x, lambda x: x[:, None], "two equal channels"),
    ],
)
def test_faulty_channels_are_repaired_when_read(tmp_path, right, expected, note):
    x = left()
    soundfile.write(tmp_path / "a.wav", np.stack([x, right(x)], 1), RATE, "FLOAT")
    sound = audio.load_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(sound.samples, expected(x))
    assert note in sound.notes[0]
    assert audio.load_audio(tmp_path / "a.wav", repair=False).notes == []


def test_a_silent_left_channel_leaves_the_right_one():
    x = left()
    sound, notes = repair.repair_sound(np.stack([0 * x, x], 1))
    np.testing.assert_array_equal(sound, x[:, None])
    assert notes == ["the left channel is silent: the right one kept as mono"]


def test_an_offset_is_removed_before_the_channels_are_compared():
    x = left() - left().mean()
    sound, notes = repair.repair_sound(np.stack([x + 0.1, -x], 1))
    np.testing.assert_allclose(sound, np.stack([x, x], 1), atol=1e-6)
    assert [note.split(" ")[0] for note in notes] == ["DC", "anti-phase:"]


def test_good_sound_is_not_changed():
    sound = make_song(1.0)
    same, notes = repair.repair_sound(sound)
    assert same is sound
    assert notes == []


def test_statistics_do_not_depend_on_the_blocks():
    sound = make_song(2.0) + np.array([0.2, 0.0], np.float32)
    whole, parts = repair.SoundStatistics(2), repair.SoundStatistics(2)
    whole.add(sound)
    for start in range(0, len(sound), 1000):
        parts.add(sound[start : start + 1000])
    np.testing.assert_allclose(parts.products, whole.products, rtol=1e-9)
    assert repair.plan_repair(parts).notes == repair.plan_repair(whole).notes


def test_silence_is_refused_or_noted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((RATE, 2)), RATE)
    with pytest.raises(ValueError, match=r"silent \(peak -180 dB\)"):
        repair.repair_sound(np.zeros((RATE, 2), np.float32))
    sound = audio.load_audio(tmp_path / "a.wav")
    assert sound.notes == ["silent (peak -180 dB)"]
    assert sound.samples.shape == (RATE, 2)
