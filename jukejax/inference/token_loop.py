"""The token loop: an XLA `while_loop` for each window, over one state, for any model.

Dimensions: B batch, T seq_len, V vocab_size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jukejax.ops import logits as logits_ops
from jukejax.ops.noise import gumbel_noise

NOISE_CHUNK = 32  # positions of a draw of noise; a draw for each token costs as much as a layer

Cache = Any  # a pytree, opaque here
StepFn = Callable[[Cache, jax.Array, jax.Array], tuple[jax.Array, Cache]]


class LogitsFilter(NamedTuple):
    """The filter of the logits. Hashable: static under jit.

    Attributes:
      top_k: keep the k most likely codes; 0 keeps all.
      top_p: keep the nucleus of this mass; 0 keeps all.
      min_p: before the temperature, keep codes that are at least this many times as likely as the
        likeliest; 0 keeps all.
    """

    top_k: int = 0
    top_p: float = 0.0
    min_p: float = 0.0


NO_FILTER = LogitsFilter()


class TrackNoise(NamedTuple):
    """Draws the random numbers of the windows of a batch.

    The noise of a slot depends on its item and its position in the track only, not on the window
    or the batch.

    Attributes:
      keys: [B] PRNG keys, one an item.
      offset: int32 scalar or [B], the position in the track of the window's first slot.
    """

    keys: jax.Array
    offset: jax.Array


class LoopState(NamedTuple):
    """The state of the loop.

    Attributes:
      position: int32 scalar, the next slot of the window to fill.
      codes: int32 [B, T]; slots before `position` are fixed.
      cache: that of the model, opaque here.
    """

    position: jax.Array
    codes: jax.Array
    cache: Cache


def select_previous(codes: jax.Array, position: jax.Array, lookback: tuple[int, ...]) -> jax.Array:
    """Selects the inputs of a step from codes [B, T]: those before `position`.

    Returns:
      [B], the code just before it; with `lookback` [B, 1 + its length], also those at its
      distances. Where the window has no such code, it is the first one.
    """
    places = [jnp.maximum(position - distance, 0) for distance in (1, *lookback)]
    previous = [jax.lax.dynamic_index_in_dim(codes, place, 1) for place in places]
    return jnp.concatenate(previous, axis=1) if lookback else previous[0][:, 0]


def sample_tokens(
    step_fn: StepFn,
    cache: Cache,
    codes: jax.Array,
    *,
    start: jax.Array,
    stop: jax.Array,
    noise: TrackNoise,
    temperature: jax.Array,
    logits_filter: LogitsFilter,
    lookback: tuple[int, ...] = (),
) -> LoopState:
    """Samples the codes of slots `start` to `stop` - 1 in order.

    Args:
      step_fn: (cache, previous codes, position) -> (logits [B, V] of that position, cache); the
        previous codes are those of `select_previous`.
      cache: after the first `start` positions.
      codes: int32 [B, T]; slots before `start` are kept.
      start: int32 scalar.
      stop: int32 scalar, at most T.
      temperature: float32 scalar, [B, 1], or [B, T] with one of each slot; 0 is greedy.
      lookback: of the model, see `AutoregressiveConfig`.
    """
    previous = select_previous(codes, jnp.int32(0), lookback)
    vocab_size = jax.eval_shape(step_fn, cache, previous, jnp.int32(0))[0].shape[-1]

    def fill_slot(state: LoopState, slot_noise: jax.Array) -> LoopState:
        previous = select_previous(state.codes, state.position, lookback)
        logits, cache = step_fn(state.cache, previous, state.position)
        slot_temperature = temperature
        if temperature.shape[1:] == state.codes.shape[1:]:
            slot_temperature = jax.lax.dynamic_index_in_dim(temperature, state.position, 1)
        code = logits_ops.sample_from_logits(
            logits, slot_noise, temperature=slot_temperature, **logits_filter._asdict()
        )
        codes = jax.lax.dynamic_update_index_in_dim(state.codes, code, state.position, 1)
        return LoopState(state.position + 1, codes, cache)

    def fill_chunk(state: LoopState) -> LoopState:
        first = state.position
        slots = first + jnp.arange(NOISE_CHUNK)
        positions = jnp.add.outer(slots, jnp.asarray(noise.offset))
        chunk_noise = gumbel_noise(noise.keys, positions, vocab_size)
        end = jnp.minimum(first + NOISE_CHUNK, stop)
        return jax.lax.while_loop(
            lambda state: state.position < end,
            lambda state: fill_slot(state, chunk_noise[state.position - first]),
            state,
        )

    state = LoopState(jnp.asarray(start, jnp.int32), codes, cache)
    return jax.lax.while_loop(lambda state: state.position < stop, fill_chunk, state)
