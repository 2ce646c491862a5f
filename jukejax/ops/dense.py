"""Affine maps: a matrix product with a bias, and an activation or a residual.

Letters: C features in, D features out.
"""

from collections.abc import Callable

import jax

from jukejax.ops.cpu import products
from jukejax.ops.cpu.switch import is_for_cpu
from jukejax.ops.formulas import add_bias


def dense(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    gelu: bool = False,
    residual: jax.Array | None = None,
) -> jax.Array:
    """Computes x @ kernel + bias, then its `quick_gelu` or its sum with a residual.

    Args:
      x: [..., C].
      kernel: [C, D].
      bias: [D].
      gelu: whether to apply `quick_gelu`.
      residual: [..., D] to be added, or None.

    Returns:
      [..., D].
    """
    if is_for_cpu():
        return products.dense(x, kernel, bias, gelu=gelu, residual=residual)
    return add_bias(x @ kernel, bias, gelu=gelu, residual=residual)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x [..., C] @ kernel [C, D]."""
    return products.matmul(x, kernel) if is_for_cpu() else x @ kernel


def remat_policy() -> Callable[..., bool]:
    """Returns the rematerialization policy that saves the results of `dense` and `matmul`."""
    return jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        jax.checkpoint_policies.save_only_these_names(products.RESULT),
    )
