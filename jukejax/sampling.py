"""The token loop: one XLA `while_loop` a window, over one state. It knows nothing of the model.

Dimensions: B batch, T seq_len, V vocab_size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jukejax.ops import logits as logits_ops

Cache = Any
StepFn = Callable[[Cache, jax.Array, jax.Array], tuple[jax.Array, Cache]]


class Method(NamedTuple):
    """How a code is drawn. Hashable: static under jit.

    Attributes:
      top_k: keep the k most likely codes; 0 keeps all.
      top_p: keep the nucleus of this mass; 0 keeps all.
    """

    top_k: int = 0
    top_p: float = 0.0


class LoopState(NamedTuple):
    """What the loop carries.

    Attributes:
      position: int32 scalar, the next slot of the window to fill.
      codes: int32 [B, T]; slots before `position` are fixed.
      cache: the model's, opaque here.
    """

    position: jax.Array
    codes: jax.Array
    cache: Cache


def gumbel_noise(keys: jax.Array, position: jax.Array, vocab_size: int) -> jax.Array:
    """Float32 [B, V] from one key an item, so that an item's draw does not depend on its batch."""

    def one(key):
        return jax.random.gumbel(jax.random.fold_in(key, position), (vocab_size,), jnp.float32)

    return jax.vmap(one)(keys)


def fill_window(
    step_fn: StepFn,
    cache: Cache,
    codes: jax.Array,
    *,
    start: jax.Array,
    stop: jax.Array,
    keys: jax.Array,
    offset: jax.Array,
    temperature: jax.Array,
    method: Method,
) -> LoopState:
    """Draws the codes of slots `start` to `stop` - 1, one after the other.

    Args:
      step_fn: (cache, previous codes [B], position) -> (logits [B, V] of that position, cache).
      cache: after the first `start` positions.
      codes: int32 [B, T]; slots before `start` are kept.
      start: int32 scalar.
      stop: int32 scalar, at most T.
      keys: [B] PRNG keys, one an item.
      offset: int32 scalar, the window's first slot in the whole track: a slot's noise depends on
        the track position only, not on the window that draws it.
      temperature: float32 scalar; 0 is greedy.
      method: top-k and top-p.
    """

    def body(state: LoopState) -> LoopState:
        before = jnp.maximum(state.position - 1, 0)
        previous = jax.lax.dynamic_index_in_dim(state.codes, before, 1, keepdims=False)
        logits, cache = step_fn(state.cache, previous, state.position)
        noise = gumbel_noise(keys, offset + state.position, logits.shape[-1])
        code = logits_ops.draw(logits, noise, temperature=temperature, **method._asdict())
        codes = jax.lax.dynamic_update_index_in_dim(state.codes, code, state.position, 1)
        return LoopState(state.position + 1, codes, cache)

    state = LoopState(jnp.asarray(start, jnp.int32), codes, cache)
    return jax.lax.while_loop(lambda state: state.position < stop, body, state)
