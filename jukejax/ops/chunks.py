"""A function over a batch, a few rows at a time: what it computes on the way need not all fit.

Dimensions: B rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree


def in_chunks(function: Callable[..., Tree], chunk: int | None, *given: Tree) -> Tree:
    """`function(*given)`, where every array of arguments and result is [B, ...].

    Args:
      function: treats each row by itself.
      chunk: rows at a time; None: all. The last chunk repeats a row where it would be short.
      given: arguments; parts of them may be None.
    """
    batch = jax.tree.leaves(given)[0].shape[0]
    if chunk is None or chunk >= batch:
        return function(*given)
    groups = -(-batch // chunk)
    rows = jnp.minimum(jnp.arange(groups * chunk), batch - 1).reshape(groups, chunk)
    parts = jax.lax.map(
        lambda places: function(*jax.tree.map(lambda leaf: leaf[places], given)), rows
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:batch], parts)
