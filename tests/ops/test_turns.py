"""Codes that take turns: streams, their places in a frame and their parts of the codebook."""

import jax.numpy as jnp
import numpy as np

from jukejax.ops.turns import find_ranges, find_streams, join_streams, pad_frames, split_streams

DRUMS, BASS, CHORDS = ("strokes", 0, 900), ("tones", 0, 160), ("tones", 160, 900)
STREAMS = find_streams((DRUMS, BASS, DRUMS, CHORDS))


def test_equal_turns_form_a_stream():
    assert [stream.turn for stream in STREAMS] == [DRUMS, BASS, CHORDS]
    assert [stream.positions for stream in STREAMS] == [(0, 2), (1,), (3,)]


def test_every_turn_has_an_equal_share_of_the_codebook():
    assert find_ranges(STREAMS, 16) == ((0, 8), (8, 12), (12, 16))
    assert find_ranges(STREAMS, 10)[-1][1] == 10


def test_codes_of_a_stream_keep_their_order():
    codes = jnp.arange(16).reshape(2, 8)
    parts = split_streams(codes, STREAMS)
    assert parts[0].tolist() == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert parts[2].tolist() == [[3, 7], [11, 15]]
    np.testing.assert_array_equal(join_streams(parts, STREAMS), codes)


def test_vectors_are_split_and_joined():
    vectors = np.random.default_rng(0).normal(size=(2, 12, 3))
    parts = split_streams(jnp.asarray(vectors), STREAMS)
    assert [part.shape for part in parts] == [(2, 6, 3), (2, 3, 3), (2, 3, 3)]
    np.testing.assert_allclose(join_streams(parts, STREAMS), vectors, rtol=1e-6)


def test_a_last_frame_is_filled_with_zeros():
    assert pad_frames(jnp.ones((1, 5, 2)), 4).shape == (1, 8, 2)
    assert float(pad_frames(jnp.ones((1, 5, 2)), 4).sum()) == 10
    assert pad_frames(jnp.ones((1, 8)), 4).shape == (1, 8)
