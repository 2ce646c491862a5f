"""A WAV that grows and gets finer: playable at any moment, and never changed afterwards."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from jukejax.inference import codec
from jukejax.sampling.streaming import CROSSFADE_SECONDS, Stream, format_header
from tests.support import small_codec

TOP = 1200  # codes of the top level, 3.5 s
FADE = round(CROSSFADE_SECONDS * 44100)


@pytest.fixture(scope="module")
def small():
    """A codec with windows of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "WINDOW_SECONDS", 1)
        return codec.Codec(small_codec.DESCRIPTION, small_codec.weights())


@pytest.fixture(scope="module")
def codes():
    random = np.random.default_rng(0)
    return [random.integers(0, 16, TOP * 4**k).astype(np.int32) for k in (2, 1, 0)]


@pytest.fixture(scope="module")
def sounds(small, codes):
    return [small.decode(value, level)[:, 0] for level, value in enumerate(codes)]


def read_sound(path):
    sound, rate = soundfile.read(path, dtype="float32")
    assert rate == 44100
    return sound


def tolerance(sound):
    """Returns the effect of another order of sums: float32's precision at a maximum of about 30."""
    return 2e-6 * np.abs(sound).max()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_range_is_decoded_as_in_the_whole_track(small, codes, sounds, level):
    hop, margin = small.config.hops[level], small.margin(level)
    for begin, end in ((0, 40), (90, 91), (300, 300 + 3 * small._window // hop // 2)):
        num_codes = codes[level][: end + margin]
        part = small.decode_range(num_codes, level, begin, end)[:, 0]
        whole = sounds[level]
        np.testing.assert_allclose(
            part, whole[begin * hop : end * hop], rtol=0, atol=tolerance(whole)
        )


def test_file_grows_by_the_sound_that_later_codes_cannot_change(small, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    stream, margin = Stream(path, small, len(sounds[2])), small.margin(2)
    stream.grow(2, codes[2][:margin])
    assert not path.exists()
    for num_codes in (margin + 1, 400, 400, 401, 1100):
        stream.grow(2, codes[2][:num_codes])
        played = read_sound(path)
        assert len(played) == stream.frames == (num_codes - margin) * 128
        np.testing.assert_allclose(
            played, sounds[2][: len(played)], rtol=0, atol=tolerance(sounds[2])
        )
    stream.finish(2, sounds[2])
    np.testing.assert_array_equal(read_sound(path), sounds[2])


def test_finer_sound_replaces_coarser_from_the_start_on(small, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    stream, margin = Stream(path, small, len(sounds[2])), small.margin(1)
    stream.finish(2, sounds[2])
    for num_codes in (500, 2000, 2300):
        stream.grow(1, codes[1][:num_codes])
        tip = (num_codes - margin) * 32
        played = read_sound(path)
        assert len(played) == len(sounds[2])
        near = tolerance(sounds[1])
        np.testing.assert_allclose(played[: tip - FADE], sounds[1][: tip - FADE], rtol=0, atol=near)
        np.testing.assert_array_equal(played[tip:], sounds[2][tip:])
        fine, coarse = sounds[1][tip - FADE : tip], sounds[2][tip - FADE : tip]
        low, high = np.minimum(fine, coarse) - near, np.maximum(fine, coarse) + near
        assert ((played[tip - FADE : tip] >= low) & (played[tip - FADE : tip] <= high)).all()
    for level in (1, 0):
        stream.finish(level, sounds[level])
        np.testing.assert_array_equal(read_sound(path), sounds[level])


class DecodedFile:
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
        if Path(self.file.name).stat().st_size > len(format_header(0, 44100)):
            self.lengths.append(soundfile.info(self.file.name).frames)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_header_never_has_more_frames_than_the_file(small, codes, sounds, tmp_path, monkeypatch):
    path, lengths = tmp_path / "stream.wav", []
    stream = Stream(path, small, len(sounds[2]))

    def open_decoded(name, mode):
        return DecodedFile(open(name, mode), lengths)

    monkeypatch.setattr("jukejax.sampling.streaming.open", open_decoded, raising=False)
    num_codes = (300, 600, 900)
    for count in num_codes:
        stream.grow(2, codes[2][:count])
    frames = [(count - small.margin(2)) * 128 for count in num_codes]
    assert lengths == [0, frames[0], frames[0], frames[1], frames[1], frames[2]]


def test_new_stream_replaces_an_old_file(small, codes, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    Stream(path, small, len(sounds[2])).finish(0, sounds[0])
    stream = Stream(path, small, len(sounds[2]))
    stream.grow(2, codes[2][:500])
    assert len(read_sound(path)) == stream.frames < len(sounds[0])
    stream.finish(0, sounds[0])
    np.testing.assert_array_equal(read_sound(path), sounds[0])


def test_loud_sound_is_not_clipped(small, sounds, tmp_path):
    path = tmp_path / "stream.wav"
    loud = 3 * sounds[2] / np.abs(sounds[2]).max()
    Stream(path, small, len(loud)).finish(2, loud)
    np.testing.assert_array_equal(read_sound(path), loud)
