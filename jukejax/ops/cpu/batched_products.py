"""Batched matrix products in the layouts that XLA's CPU compiler (jaxlib 0.10) runs fast.

Letters: Q queries, S keys, D features.
"""

import jax
import jax.numpy as jnp

# Queries x keys of a group. XLA's CPU kernels have no product over the first axis of a matrix: it
# runs one group at a time, 1.7 us each. Up to this size a transposed copy is cheaper.
_SMALL = 64 * 64


def sum_over_queries(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Multiplies [..., Q, S] and [..., Q, D] to float32 [..., S, D]."""
    queries, keys = weights.shape[-2:]
    if queries * keys <= _SMALL:
        # Materialized: XLA would fuse the transpose into the product, which makes it slow.
        return _einsum("...sq,...qd->...sd", _materialize(weights.swapaxes(-1, -2)), x)
    if x.shape[-1] < keys:
        transposed = _materialize(x.swapaxes(-1, -2))
        product = _einsum("...dq,...qs->...ds", transposed, weights)
        return _materialize(product).swapaxes(-1, -2)
    return _einsum("...qs,...qd->...sd", weights, x)


def _materialize(x: jax.Array) -> jax.Array:
    """Keeps XLA from fusing x into the operation that follows."""
    return jax.lax.optimization_barrier(x)


def _einsum(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)
