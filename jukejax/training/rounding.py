"""Moments of an optimizer in bfloat16, which take half of the memory.

They are rounded stochastically: up or down with probabilities that keep the expectation. Rounded to
the nearest value, a second moment with decay 0.999 would not change at all where a step changes it
by less than its half unit in the last place, 1 in 512.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jukejax.common.types import Tree

MOMENTS = {"mu", "nu"}  # fields of the states of Adam and Muon
_LOW_BITS = 16  # of a float32, which bfloat16 lacks


class RoundedState(NamedTuple):
    """Number of updates, and the state of the optimizer with its moments in bfloat16."""

    count: jax.Array  # type: ignore[assignment]  # tuple has a method `count`
    inner: Tree


def round_moments(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Stores the moments of an optimizer in bfloat16; it computes in float32."""

    def init(params: Tree) -> RoundedState:
        state = _map_moments(lambda leaf, index: leaf.astype(jnp.bfloat16), optimizer.init(params))
        return RoundedState(jnp.zeros((), jnp.int32), state)

    def update(
        grads: Tree, state: RoundedState, params: Tree | None = None
    ) -> tuple[Tree, RoundedState]:
        inner = _map_moments(lambda leaf, index: leaf.astype(jnp.float32), state.inner)
        updates, inner = optimizer.update(grads, inner, params)
        key = jax.random.fold_in(jax.random.key(0), state.count)
        inner = _map_moments(
            lambda leaf, index: round_stochastically(leaf, jax.random.fold_in(key, index)), inner
        )
        return updates, RoundedState(state.count + 1, inner)

    return optax.GradientTransformation(init, update)


def _map_moments(function: Callable[[jax.Array, int], jax.Array], state: Tree) -> Tree:
    """Applies `function(leaf, index)` to the moments in an optimizer's state."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    mapped = [
        function(leaf, index) if _is_moment(path) else leaf
        for index, (path, leaf) in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, mapped)


def _is_moment(path: tuple) -> bool:
    return any(getattr(key, "name", "") in MOMENTS for key in path)


def round_stochastically(values: jax.Array, key: jax.Array) -> jax.Array:
    """Rounds finite float32 values to one of the two nearest bfloat16, unbiased."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    noise = jax.random.bits(key, values.shape, jnp.uint16).astype(jnp.uint32)
    rounded = (bits + noise) >> _LOW_BITS << _LOW_BITS
    return jax.lax.bitcast_convert_type(rounded, jnp.float32).astype(jnp.bfloat16)
