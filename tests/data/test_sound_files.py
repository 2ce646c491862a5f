"""Sound files of each format: their samples, lengths and tags, and their bytes."""

import mutagen
import numpy as np
import pytest
import soundfile

from jukejax.data import audio, decoding
from jukejax.data.sound_files import BITS, FORMATS, FileFormat, Tags, write_sound
from jukejax.preparation.metadata import read_tags

TAGS = Tags(
    title="Take 0 · 124 BPM",
    artist="jukejax",
    comment="Made by a machine",
    encoder="jukejax 0.1.0",
    genre="deep house",
    bpm=123.5,
    key="F#m",
    extra={"seed": "7", "model": "house"},
)


def make_sound(seconds=1.5, channels=1):
    time = np.arange(round(seconds * 44100)) / 44100
    sine = 0.5 * np.sin(2 * np.pi * 440 * time)
    return np.stack([sine * (1 - 0.3 * i) for i in range(channels)], axis=1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", ["wav", "flac"])
def test_lossless_files_hold_the_rounded_samples(tmp_path, name, bits, channels):
    path = tmp_path / f"take.{name}"
    sound = make_sound(channels=channels)
    write_sound(path, sound, FileFormat(name, bits), TAGS)
    stored, rate = soundfile.read(path, dtype="int32", always_2d=True)
    assert rate == 44100
    assert soundfile.info(path).subtype == f"PCM_{bits}"
    scale = 2 ** (bits - 1)
    np.testing.assert_array_equal(stored >> (32 - bits), np.round(sound.astype("f8") * scale))


def test_full_scale_is_clipped_and_does_not_wrap(tmp_path):
    path = tmp_path / "take.wav"
    write_sound(path, np.array([[1.0], [-1.0], [1.5]] * 100, np.float32), FileFormat(bits=24), TAGS)
    stored, _ = soundfile.read(path, dtype="int32")
    np.testing.assert_array_equal(stored[:3] >> 8, [2**23 - 1, -(2**23), 2**23 - 1])


@pytest.mark.parametrize("name", ["mp3", "ogg"])
def test_lossy_files_keep_length_position_and_sound(tmp_path, name):
    path = tmp_path / f"take.{name}"
    sound = make_sound(channels=2)
    write_sound(path, sound, FileFormat(name), TAGS)
    decoded = audio.load_audio(path, repair=False).samples
    assert decoded.shape == sound.shape
    inner = slice(2000, -2000)
    error = np.sqrt(np.square(decoded[inner] - sound[inner]).mean())
    assert error < 0.01 * np.sqrt(np.square(sound).mean())


@pytest.mark.parametrize("name", FORMATS)
def test_same_sound_gives_the_same_bytes(tmp_path, name):
    paths = [tmp_path / f"{i}.{name}" for i in range(2)]
    for path in paths:
        write_sound(path, make_sound(0.3), FileFormat(name), TAGS)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_tags_are_read_by_prepare_and_by_players(tmp_path, name):
    path = tmp_path / f"take.{name}"
    write_sound(path, make_sound(0.3), FileFormat(name), TAGS)
    with decoding.open_sound(path) as opened:
        labels = read_tags(str(path), opened.tags)
    assert (labels.artist, labels.genre) == ("jukejax", "deep house")
    assert (labels.grid.bpm, labels.grid.key) == ("123.5", "F#m")
    text = str(dict(mutagen.File(path).tags))
    for value in ("Take 0 · 124 BPM", "Made by a machine", "jukejax 0.1.0", "seed", "'7'", "house"):
        assert value in text


@pytest.mark.parametrize("name", FORMATS)
def test_sound_without_tags_is_written(tmp_path, name):
    path = tmp_path / f"take.{name}"
    write_sound(path, make_sound(0.3), FileFormat(name), Tags(), 22050)
    assert soundfile.info(path).samplerate == 22050


@pytest.mark.parametrize("values", [("aiff",), ("wav", 32), ("mp3", 24), ("ogg", 24)])
def test_formats_that_do_not_exist_are_refused(values):
    with pytest.raises(ValueError, match=r"--format|--bits"):
        FileFormat(*values)


def test_broken_sound_is_refused(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        write_sound(tmp_path / "a.wav", np.full((9, 1), np.nan), FileFormat(), TAGS)
    assert not list(tmp_path.iterdir())
