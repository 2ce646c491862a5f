"""Frames of audio and their sum, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.frames import add_frames, cut_frames

SHAPES = [(4, 1), (4, 2), (4, 3), (8, 4), (3, 5)]  # hop, span


def first_sample(hop, span):
    """Returns the first sample of frame 0, which is centered on the first hop."""
    return -((span - 1) * hop // 2)


@pytest.mark.parametrize(("hop", "span"), SHAPES)
def test_frames_are_centered_on_their_hops(hop, span):
    audio = np.random.default_rng(0).normal(size=(2, 6 * hop)).astype(np.float32)
    frames = np.asarray(cut_frames(jnp.asarray(audio), hop, span))
    assert frames.shape == (2, 6, span * hop)
    for i in range(6):
        for j in range(span * hop):
            sample = first_sample(hop, span) + i * hop + j
            inside = 0 <= sample < audio.shape[1]
            expected = audio[:, sample] if inside else np.zeros(2)
            np.testing.assert_array_equal(frames[:, i, j], expected)


@pytest.mark.parametrize(("hop", "span"), SHAPES)
def test_adding_frames_is_the_transpose_of_cutting_them(hop, span):
    frames = np.random.default_rng(1).normal(size=(2, 5, span * hop)).astype(np.float32)
    transpose = jax.linear_transpose(
        lambda audio: cut_frames(audio, hop, span), jnp.zeros((2, 5 * hop))
    )
    (expected,) = transpose(jnp.asarray(frames))
    np.testing.assert_allclose(
        add_frames(jnp.asarray(frames), hop, span), expected, rtol=1e-5, atol=1e-6
    )
