"""Sounds of finer levels that are filtered to match the top level (`VQVAE.match_sound`)."""

import dataclasses

import numpy as np
import pytest
import soundfile

import jukejax
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model
from jukejax.inference.matched_decoding import decode_level
from jukejax.inference.spans import find_matching_context
from jukejax.sampling.loop import decode_loop
from tests.sampling.test_reference import FRAMES, write_bundle
from tests.support import small_bundle
from tests.support.small_sample import sample

MATCHED = dataclasses.replace(FRAMES, matching_rounds=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle"), MATCHED)


@pytest.fixture(scope="module")
def model(folder):
    return Model(folder)


@pytest.fixture(scope="module")
def codes():
    """Codes of 4 s, in whole frames at all levels."""
    random, count = np.random.default_rng(0), 4 * 344
    return {k: random.integers(0, 16, count * 4 ** (2 - k)).astype(np.int32) for k in (2, 1)}


def read_sound(folder, level):
    return soundfile.read(folder / "item_000" / f"level_{level}.wav", dtype="float32")[0]


def test_finer_levels_are_filtered_and_the_top_level_is_not(model, codes):
    plain = model.codec.decode(codes[1], 1)
    matched = decode_level(model.codec, codes, 1)
    assert matched.shape == plain.shape
    assert np.abs(matched - plain).max() > 0.05 * np.abs(plain).max()
    np.testing.assert_array_equal(decode_level(model.codec, {1: codes[1]}, 1), plain)
    top = model.codec.decode(codes[2], 2)
    np.testing.assert_array_equal(decode_level(model.codec, codes, 2), top)


def test_windows_give_what_a_single_pass_gives(folder, codes):
    codec, whole = Codec.load(folder), Codec.load(folder)
    margin = find_matching_context(codec.config)
    codec._window = 3 * margin
    sound = codec.decode(codes[1], 1)[:-30]  # a last frame that is not whole
    assert len(sound) > 2 * codec._window
    matched = codec.match_sound(sound, codes[2])
    assert matched.shape == sound.shape
    np.testing.assert_allclose(matched, whole.match_sound(sound, codes[2]), atol=1e-6)


def test_a_last_frame_is_completed_with_the_turns_of_the_frame_before(model, codes):
    turns = len(FRAMES.turns[2])
    for lacking in range(1, turns):
        used = len(codes[2]) - lacking
        sound = model.codec.decode(codes[1][: 4 * used], 1)
        whole = np.append(codes[2][:used], codes[2][-lacking - turns : -turns])
        expected = model.codec.match_sound(sound, whole)
        np.testing.assert_array_equal(model.codec.match_sound(sound, codes[2][:used]), expected)


def test_a_loop_sounds_as_its_repetition(model, codes):
    samples = len(codes[2]) * 128 - 30
    sound = decode_loop(model.codec, codes, 1, samples)
    repeated = decode_level(model.codec, {k: np.tile(x, 3) for k, x in codes.items()}, 1)
    expected = repeated[len(codes[2]) * 128 :][:samples]
    np.testing.assert_allclose(sound[300:], expected[300:], atol=1e-4 * np.abs(sound).max())


@pytest.mark.parametrize("stream", [False, True])
def test_sample_writes_filtered_sounds(model, tmp_path, stream):
    (track,) = sample(model, tmp_path / "out", levels=(2, 1), stream=stream)
    expected = decode_level(model.codec, track, 1)[:, 0]
    sound = read_sound(tmp_path / "out", 1)
    scale = np.abs(sound).max() / np.abs(expected[: len(sound)]).max()
    np.testing.assert_allclose(sound, scale * expected[: len(sound)], atol=2e-4)
    if stream:
        streamed, _ = soundfile.read(tmp_path / "out" / "item_000" / "stream.wav", dtype="float32")
        np.testing.assert_allclose(streamed, expected[: len(streamed)], atol=1e-5)


def test_decode_of_the_api_takes_the_codes_of_the_top_level(folder, codes):
    model = jukejax.load(folder)
    expected = decode_level(Codec.load(folder), codes, 1)[:, 0]
    sound = model.decode(codes[1], 1, top_codes=codes[2])
    np.testing.assert_array_equal(sound, expected)
    both = model.decode(np.stack([codes[1]] * 2), 1, top_codes=np.stack([codes[2]] * 2))
    np.testing.assert_array_equal(both, np.stack([expected] * 2))
    np.testing.assert_array_equal(
        model.decode(codes[2], 2, top_codes=codes[2]), model.decode(codes[2], 2)
    )
    with pytest.raises(ValueError, match=r"top_codes \[1375\], which is another time; give one"):
        model.decode(codes[1], 1, top_codes=codes[2][1:])
    with pytest.raises(ValueError, match="top_codes hold 16, and must be whole numbers of 0 to 15"):
        model.decode(codes[1], 1, top_codes=np.full(1376, 16))


STROKES = tuple(("strokes", low, 16_000) for low in (0, 900, 2000, 4000))


@pytest.mark.parametrize("turns", [((), (), ()), ((), STROKES, FRAMES.turns[2])])
def test_rounds_without_one_spectral_level_at_the_top_are_refused(turns):
    frames = dataclasses.replace(MATCHED, turns=turns)
    with pytest.raises(ValueError, match="matching_rounds is 1, which needs a top level"):
        dataclasses.replace(small_bundle.VQVAE, frames=frames)
