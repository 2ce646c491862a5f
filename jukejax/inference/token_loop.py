"""The token loop: one XLA `while_loop` a window, over one state. It knows nothing of the model.

Dimensions: B batch, T seq_len, V vocab_size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from jukejax.ops import logits as logits_ops

NOISE_AHEAD = 32  # slots: random numbers are cheap in bulk and cost as much as a layer one by one

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


def gumbel_noise(keys: jax.Array, positions: jax.Array, vocab_size: int) -> jax.Array:
    """Standard Gumbel float32 [N, B, V] for int32 `positions` [N] or [N, B] of a track.

    From one key an item, so that an item's draw does not depend on its batch, nor on its window.
    The bits are Threefry's, two words a block: `jax.random.gumbel` throws one of the two away.
    """
    counters = jnp.arange(vocab_size, dtype=jnp.uint32)

    def one(key, position):
        own = jax.random.key_data(jax.random.fold_in(key, position))
        bits = threefry_2x32(own, counters)
        ones = jnp.uint32(0x3F800000)  # 1.0: the exponent of all numbers from 1 to 2
        uniform = jax.lax.bitcast_convert_type((bits >> 9) | ones, jnp.float32) - 1.0
        return -jnp.log(-jnp.log(jnp.maximum(uniform, jnp.finfo(jnp.float32).tiny)))

    each = jnp.broadcast_to(positions.reshape(len(positions), -1), (len(positions), len(keys)))
    return jax.vmap(jax.vmap(one), in_axes=(None, 0))(keys, each)


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
      offset: int32 scalar or [B], the window's first slot in the whole track: a slot's noise
        depends on the track position only, not on the window that draws it.
      temperature: float32 scalar; 0 is greedy.
      method: top-k and top-p.
    """

    vocab_size = jax.eval_shape(step_fn, cache, codes[:, 0], jnp.int32(0))[0].shape[-1]

    def draw(state: LoopState, noise: jax.Array) -> LoopState:
        before = jnp.maximum(state.position - 1, 0)
        previous = jax.lax.dynamic_index_in_dim(state.codes, before, 1, keepdims=False)
        logits, cache = step_fn(state.cache, previous, state.position)
        code = logits_ops.draw(logits, noise, temperature=temperature, **method._asdict())
        codes = jax.lax.dynamic_update_index_in_dim(state.codes, code, state.position, 1)
        return LoopState(state.position + 1, codes, cache)

    def run(state: LoopState) -> LoopState:
        """A run of `NOISE_AHEAD` slots, whose noise is made at once."""
        first = state.position
        ahead = first + jnp.arange(NOISE_AHEAD)
        noise = gumbel_noise(keys, jnp.add.outer(ahead, jnp.asarray(offset)), vocab_size)
        end = jnp.minimum(first + NOISE_AHEAD, stop)
        return jax.lax.while_loop(
            lambda state: state.position < end,
            lambda state: draw(state, noise[state.position - first]),
            state,
        )

    state = LoopState(jnp.asarray(start, jnp.int32), codes, cache)
    return jax.lax.while_loop(lambda state: state.position < stop, run, state)
