"""Excerpts of tracks of the corpus that are known as codes only."""

import dataclasses

import numpy as np
import pytest

from jukejax.auditing.report import _decode_excerpt
from jukejax.common.config import to_plain
from jukejax.inference.codec import Codec
from tests.sampling import test_reference
from tests.support import small_codec

FRAMES = dataclasses.replace(test_reference.FRAMES, synthesis=False)


def make_codec(frames):
    config = dataclasses.replace(small_codec.CONFIG, frames=frames)
    description = small_codec.DESCRIPTION | {"config": to_plain(config)}
    return Codec(description, small_codec.weights(config=config))


@pytest.fixture(scope="module")
def codes():
    return np.random.default_rng(0).integers(0, 16, 160)


@pytest.mark.parametrize("first", [0, 40, 43])
def test_excerpts_of_codes_that_take_turns_sound_as_in_the_track(first, codes):
    codec = make_codec(FRAMES)
    margin = codec.margin(2) * 128
    excerpt = _decode_excerpt(codec, codes, first, 150)
    whole = codec.decode(codes, 2)[first * 128 : 150 * 128, 0]
    assert excerpt.shape == whole.shape
    inner = slice(margin, len(whole) - margin)
    assert len(whole[inner]) > 1000
    np.testing.assert_allclose(excerpt[inner], whole[inner], atol=1e-5 * np.abs(whole).max())


def test_excerpts_of_other_codes_have_nothing_before_them(codes):
    codec = make_codec(None)
    excerpt = _decode_excerpt(codec, codes, 43, 200)
    np.testing.assert_array_equal(excerpt, codec.decode(codes[43:], 2)[:, 0])
    assert _decode_excerpt(codec, codes, 160, 200) is None
