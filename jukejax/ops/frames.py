"""Overlapping frames of audio, and their sum.

Audio is [B, T], frames are [B, T / hop, span * hop]; frame i is centered on the samples
[i * hop, (i + 1) * hop). Letters: B batch, T time.
"""

import jax
import jax.numpy as jnp


def cut_frames(audio: jax.Array, hop: int, span: int) -> jax.Array:
    """Cuts a frame of `span` hops around every hop; there are zeros beyond both ends.

    By shifts of rows of one hop, as the backward pass of a gather would be a scatter.
    [B, T] with T a multiple of hop -> [B, T / hop, span * hop].
    """
    batch, length = audio.shape
    rows = length // hop
    before, after = _margins(hop, span)
    padded = jnp.pad(audio, ((0, 0), (before, after))).reshape(batch, rows + span - 1, hop)
    return jnp.concatenate([padded[:, shift : shift + rows] for shift in range(span)], axis=-1)


def add_frames(frames: jax.Array, hop: int, span: int) -> jax.Array:
    """Adds frames where they overlap, the transpose of `cut_frames`.

    [B, N, span * hop] -> [B, N * hop].
    """
    batch, rows, _ = frames.shape
    parts = frames.reshape(batch, rows, span, hop)
    shifted = [
        jnp.pad(parts[:, :, shift], ((0, 0), (shift, span - 1 - shift), (0, 0)))
        for shift in range(span)
    ]
    before, _ = _margins(hop, span)
    audio = sum(shifted[1:], shifted[0]).reshape(batch, (rows + span - 1) * hop)
    return audio[:, before : before + rows * hop]


def _margins(hop: int, span: int) -> tuple[int, int]:
    """Returns the samples of a frame before and after its own hop."""
    before = (span - 1) * hop // 2
    return before, (span - 1) * hop - before
