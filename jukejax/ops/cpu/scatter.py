"""Sums by index on CPUs."""

import jax
import jax.numpy as jnp


def scatter_sums(x: jax.Array, codes: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """Computes `quantize.sum_by_code` by adding each row to its code's. [K, E] and [K]."""
    ones = jnp.ones_like(codes, jnp.float32)
    sums = jax.ops.segment_sum(x, codes, num_codes)
    return sums, jax.ops.segment_sum(ones, codes, num_codes)
