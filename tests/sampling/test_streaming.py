"""A WAV that grows and gets finer: sound at any moment, and never drawn differently later."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from jukejax.inference import codec
from jukejax.sampling.streaming import CROSSFADE_SECONDS, Stream, header
from tests.support import small_codec

TOP = 1200  # codes of the top level, 3.5 s
FADE = round(CROSSFADE_SECONDS * 44100)


@pytest.fixture(scope="module")
def made():
    before, codec.WINDOW_SECONDS = codec.WINDOW_SECONDS, 1
    yield codec.Codec(small_codec.DESCRIPTION, small_codec.weights())
    codec.WINDOW_SECONDS = before


@pytest.fixture(scope="module")
def codes():
    random = np.random.default_rng(0)
    return [random.integers(0, 16, TOP * 4**k).astype(np.int32) for k in (2, 1, 0)]


@pytest.fixture(scope="module")
def sounds(made, codes):
    return [made.decode(value, level)[:, 0] for level, value in enumerate(codes)]


def read(path):
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == 44100
    return sound


def rounding(sound):
    """What another order of sums changes: float32's precision at the loudest sample, about 30."""
    return 2e-6 * np.abs(sound).max()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_part_sounds_as_it_does_in_the_whole_track(made, codes, sounds, level):
    hop, margin = made.config.hops[level], made.margin(level)
    for begin, end in ((0, 40), (90, 91), (300, 300 + 3 * made._window // hop // 2)):
        known = codes[level][: end + margin]
        part = made.decode_part(known, level, begin, end)[:, 0]
        whole = sounds[level]
        np.testing.assert_allclose(
            part, whole[begin * hop : end * hop], rtol=0, atol=rounding(whole)
        )


def test_the_file_grows_by_what_later_codes_cannot_change(made, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    stream, margin = Stream(path, made, len(sounds[2])), made.margin(2)
    stream.grow(2, codes[2][:margin])
    assert not path.exists()
    for known in (margin + 1, 400, 400, 401, 1100):
        stream.grow(2, codes[2][:known])
        heard = read(path)
        assert len(heard) == stream.frames == (known - margin) * 128
        np.testing.assert_allclose(heard, sounds[2][: len(heard)], rtol=0, atol=rounding(sounds[2]))
    stream.finish(2, sounds[2])
    np.testing.assert_array_equal(read(path), sounds[2])


def test_finer_sound_takes_the_place_of_coarser_from_the_start_on(made, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    stream, margin = Stream(path, made, len(sounds[2])), made.margin(1)
    stream.finish(2, sounds[2])
    for known in (500, 2000, 2300):
        stream.grow(1, codes[1][:known])
        tip = (known - margin) * 32
        heard = read(path)
        assert len(heard) == len(sounds[2])
        near = rounding(sounds[1])
        np.testing.assert_allclose(heard[: tip - FADE], sounds[1][: tip - FADE], rtol=0, atol=near)
        np.testing.assert_array_equal(heard[tip:], sounds[2][tip:])
        fine, coarse = sounds[1][tip - FADE : tip], sounds[2][tip - FADE : tip]
        low, high = np.minimum(fine, coarse) - near, np.maximum(fine, coarse) + near
        assert ((heard[tip - FADE : tip] >= low) & (heard[tip - FADE : tip] <= high)).all()
    for level in (1, 0):
        stream.finish(level, sounds[level])
        np.testing.assert_array_equal(read(path), sounds[level])


class Watched:
    """A file that is decoded after each write to it."""

    def __init__(self, file, lengths):
        self.file, self.lengths = file, lengths

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content)
        self.file.flush()
        if Path(self.file.name).stat().st_size > len(header(0, 44100)):
            self.lengths.append(soundfile.info(self.file.name).frames)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_the_header_never_promises_more_than_is_there(made, codes, sounds, tmp_path, monkeypatch):
    path, lengths = tmp_path / "stream.wav", []
    stream = Stream(path, made, len(sounds[2]))

    def watched(name, mode):
        return Watched(open(name, mode), lengths)

    monkeypatch.setattr("jukejax.sampling.streaming.open", watched, raising=False)
    known = (300, 600, 900)
    for count in known:
        stream.grow(2, codes[2][:count])
    frames = [(count - made.margin(2)) * 128 for count in known]
    assert lengths == [0, frames[0], frames[0], frames[1], frames[1], frames[2]]


def test_a_new_stream_takes_the_place_of_an_old_one(made, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    Stream(path, made, len(sounds[2])).finish(0, sounds[0])
    again = Stream(path, made, len(sounds[2]))
    again.grow(2, codes[2][:500])
    assert len(read(path)) == again.frames < len(sounds[0])
    again.finish(0, sounds[0])
    np.testing.assert_array_equal(read(path), sounds[0])


def test_loud_sound_is_not_clipped(made, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    loud = 3 * sounds[2] / np.abs(sounds[2]).max()
    Stream(path, made, len(loud)).finish(2, loud)
    np.testing.assert_array_equal(read(path), loud)
