"""Batched matrix products in the layouts that are fast with XLA's CPU compiler (jaxlib 0.10).

Letters: Q queries, S keys, D features.
"""

import jax
import jax.numpy as jnp

# Queries x keys of a group, up to which a transposed copy is faster. XLA has no CPU kernel for a
# product over the first axis of a matrix, and runs one group at a time, 1.7 us each.
_SMALL = 64 * 64


def sum_over_queries(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Multiplies [..., Q, S] and [..., Q, D] to float32 [..., S, D]."""
    queries, keys = weights.shape[-2:]
    if queries * keys <= _SMALL:
        # Materialized, since the product is slow if XLA fuses the transpose into it.
        return _einsum("...sq,...qd->...sd", _materialize(weights.swapaxes(-1, -2)), x)
    if x.shape[-1] < keys:
        transposed = _materialize(x.swapaxes(-1, -2))
        product = _einsum("...dq,...qs->...ds", transposed, weights)
        return _materialize(product).swapaxes(-1, -2)
    return _einsum("...qs,...qd->...sd", weights, x)


def _materialize(x: jax.Array) -> jax.Array:
    """Prevents XLA from fusing x into the following operation."""
    return jax.lax.optimization_barrier(x)


def _einsum(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)
