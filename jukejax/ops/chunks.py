"""Evaluation of a function over a batch in chunks, which bounds the memory of its activations.

Letters: B rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree


def map_chunks(function: Callable[..., Tree], chunk: int | None, *args: Tree) -> Tree:
    """Computes `function(*args)` where every array of arguments and result is [B, ...].

    Args:
      function: computes each row independently.
      chunk: rows at a time; None: all. The last row is repeated to complete the last chunk.
      args: arguments; leaves may be None.
    """
    batch = jax.tree.leaves(args)[0].shape[0]
    if chunk is None or chunk >= batch:
        return function(*args)
    groups = -(-batch // chunk)
    rows = jnp.minimum(jnp.arange(groups * chunk), batch - 1).reshape(groups, chunk)
    results = jax.lax.map(
        lambda indices: function(*jax.tree.map(lambda leaf: leaf[indices], args)), rows
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:batch], results)
