"""Weights in eight bits: one scale a channel, symmetric, for decoding.

A step of a small batch reads every weight once and does little with it: on accelerators its time is
the weights' bytes over the memory's bandwidth, and int8 has half the bytes of bfloat16.
"""

import jax
import jax.numpy as jnp

LARGEST = 127


def quantize(weights: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Rounds to the nearest of 255 values a channel.

    Args:
      weights: float [..., n, ...].
      axis: the one that is summed over in the product, so that a scale belongs to one output.

    Returns:
      (int8, shaped as `weights`; float32 scales without `axis`), whose product is within half a
      scale of each weight. A channel of zeros has scale 1.
    """
    wide = weights.astype(jnp.float32)
    largest = jnp.abs(wide).max(axis=axis, keepdims=True)
    scale = jnp.where(largest > 0, largest / LARGEST, 1.0)
    return jnp.round(wide / scale).astype(jnp.int8), scale.squeeze(axis)
