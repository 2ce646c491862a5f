"""Compact key-value caches: each attention kind keeps only the keys that later positions attend to.

| kind                 | kept                                     | layout                  |
|----------------------|------------------------------------------|-------------------------|
| dense                | the whole window                         | [B, H, T, D]            |
| block                | one row, overwritten by the next         | [B, H, L, D]            |
| transposed block     | the whole window, column by column       | [B, L, H, R, D]         |
| previous block       | two rows, in turn                        | [B, 2, H, L, D]         |
| summary, spread      | a zero slot and the end of each row      | [B, H, R * spread, D]   |
| encoder-decoder      | the encoder's keys and values            | [B, H, S, D]            |
| prime                | the first `prime_len` positions          | [B, H, P, D]            |

Dimensions as in attention/kinds.py. Keys are stored scaled, and those of a head are contiguous, so
that a step multiplies them without a copy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.ops.attention.kinds import (
    AttentionKind,
    Grid,
    count_keys,
    count_row_ends,
    scale_query_key,
    softmax,
    summary_keys,
    summary_positions,
)
from jukejax.ops.cpu import cached_attention
from jukejax.ops.logical_axes import constrain


class Cache(NamedTuple):
    """Scaled keys and values of one layer; shapes in the table above."""

    key: jax.Array
    value: jax.Array


def cache_shape(
    kind: AttentionKind, grid: Grid, batch: int, num_heads: int, head_dim: int, encoder_len: int = 0
) -> tuple[int, ...]:
    """Returns the shape of the keys (and of the values) that one layer keeps."""
    groups: tuple[int, ...] = ()
    if kind == AttentionKind.TRANSPOSED_BLOCK:
        groups = (grid.block_len,)
    elif kind == AttentionKind.PREVIOUS_BLOCK:
        groups = (2,)
    return (batch, *groups, num_heads, count_keys(kind, grid, encoder_len), head_dim)


def cast_caches(caches: tuple[Cache, ...], dtype: jnp.dtype) -> tuple[Cache, ...]:
    """Returns the caches of all layers in another type."""
    return tuple(Cache(cache.key.astype(dtype), cache.value.astype(dtype)) for cache in caches)


def shard_cache(cache: Cache) -> Cache:
    """Shards a cache by rows and heads, where devices share them."""
    groups = (None,) * (cache.key.ndim - 4)
    names = ("batch", *groups, "act_heads", None, None)
    return Cache(*(constrain(array, *names) for array in cache))


def fill_cache(
    kind: AttentionKind, grid: Grid, k: jax.Array, v: jax.Array, length: jax.Array
) -> Cache:
    """Builds the cache after `length` positions from the keys and values of a whole window.

    Args:
      kind: of the layer; for kind 6 `k` and `v` are the encoder's and `length` is not used.
      grid: of the window.
      k: unscaled keys [B, T, H, D], T = num_rows * block_len. Positions from `length` on may have
        any values: a step overwrites or masks them.
      v: values, as k.
      length: int32 scalar, number of fixed positions.
    """
    _, k = scale_query_key(k, k)
    rows = (k.shape[0], grid.num_rows, grid.block_len, *k.shape[2:])
    row = jnp.maximum(length - 1, 0) // grid.block_len  # of the last fixed position

    def select_kept(x: jax.Array) -> jax.Array:
        match kind:
            case AttentionKind.BLOCK:
                return jax.lax.dynamic_index_in_dim(x.reshape(rows), row, 1, keepdims=False)
            case AttentionKind.TRANSPOSED_BLOCK:
                return x.reshape(rows).swapaxes(1, 2)
            case AttentionKind.PREVIOUS_BLOCK:
                x = x.reshape(rows)
                pair = [jax.lax.dynamic_index_in_dim(x, jnp.maximum(row - 1, 0), 1, keepdims=False)]
                pair.append(jax.lax.dynamic_index_in_dim(x, row, 1, keepdims=False))
                both = jnp.stack(pair, axis=1)  # [B, (row - 1, row), L, H, D]
                return jnp.where(row % 2 == 1, both, both[:, ::-1])  # row r is in slot r % 2
            case AttentionKind.SUMMARY | AttentionKind.SUMMARY_SPREAD:
                return summary_keys(x, grid.block_len, count_row_ends(kind, grid.spread))
            case AttentionKind.PRIME:
                return x[:, : grid.prime_len]
            case _:
                return x

    return Cache(select_kept(k).swapaxes(-3, -2), select_kept(v).swapaxes(-3, -2))


class Slots(NamedTuple):
    """Slots of a layer's cache in a step; int32 scalars.

    Attributes:
      write_group: the group that the new position is written to; 0 for caches without groups.
      write_slot: its slot; -1: the position is not kept.
      read_group: the group that the position attends to.
      visible: the number of visible slots, which are the first of the group; 0: attend to zeros.
    """

    write_group: jax.Array
    write_slot: jax.Array
    read_group: jax.Array
    visible: jax.Array


def locate_slots(
    kind: AttentionKind, grid: Grid, position: jax.Array, encoder_len: int = 0
) -> Slots:
    """Returns the slots that `position` of a window writes and reads."""
    row, col = position // grid.block_len, position % grid.block_len
    zero, nowhere = jnp.int32(0), jnp.int32(-1)
    match kind:
        case AttentionKind.BLOCK:
            return Slots(zero, col, zero, col + 1)
        case AttentionKind.TRANSPOSED_BLOCK:
            return Slots(col, row, col, row + 1)
        case AttentionKind.PREVIOUS_BLOCK:
            return Slots(row % 2, col, 1 - row % 2, jnp.where(row > 0, grid.block_len, 0))
        case AttentionKind.DENSE:
            return Slots(zero, position, zero, position + 1)
        case AttentionKind.PRIME:
            is_kept = position < grid.prime_len
            visible = jnp.minimum(position + 1, grid.prime_len)
            return Slots(zero, jnp.where(is_kept, position, nowhere), zero, visible)
        case AttentionKind.ENCODER_DECODER:
            return Slots(zero, nowhere, zero, jnp.int32(encoder_len))
        case _:  # summaries
            spread = count_row_ends(kind, grid.spread)
            first = grid.block_len - spread  # of the columns that are kept
            is_kept = (col >= first) & (row < grid.num_rows - 1)
            slot = jnp.where(is_kept, (row + 1) * spread + col - first, nowhere)
            visible = summary_positions(grid.num_rows, grid.block_len, spread) <= position
            return Slots(zero, slot, zero, visible.sum(dtype=jnp.int32))


def step_attention(
    kind: AttentionKind,
    grid: Grid,
    cache: Cache,
    qkv: jax.Array,
    position: jax.Array,
) -> tuple[jax.Array, Cache]:
    """Computes attention of one new position.

    Args:
      kind: of the layer.
      grid: of the window.
      cache: of the earlier positions.
      qkv: unscaled queries, keys and values [B, 3, H, D]; for kind 6 only queries, [B, 1, H, D].
      position: int32 scalar in the window.

    Returns:
      (output [B, H, D], the cache with the new position in it).
    """
    slots = locate_slots(kind, grid, position, encoder_len=cache.key.shape[-2])
    if cached_attention.supports_step(qkv, cache.key):
        out, *new = cached_attention.step(qkv, *cache, jnp.stack(slots))
        return out, Cache(*new)
    q, k, v = (qkv[:, i] for i in (0, 1, 2)) if qkv.shape[1] == 3 else (qkv[:, 0],) * 3
    q, k = scale_query_key(q, k)
    match kind:
        case AttentionKind.BLOCK:
            return _step_in_row(cache, q, k, v, slots)
        case AttentionKind.TRANSPOSED_BLOCK | AttentionKind.PREVIOUS_BLOCK:
            cache = _write_both(cache, k, v, (slots.write_group,), slots.write_slot)
            keys, values = (
                jax.lax.dynamic_index_in_dim(x, slots.read_group, 1, keepdims=False) for x in cache
            )
            if kind == AttentionKind.PREVIOUS_BLOCK:
                return _attend(q, keys, jnp.where(slots.visible > 0, values, 0), None), cache
            return _attend(q, keys, values, slots), cache
        case AttentionKind.ENCODER_DECODER:
            return _attend(q, *cache, None), cache
        case AttentionKind.DENSE:
            cache = _write_both(cache, k, v, (), slots.write_slot)
        case _:
            cache = _write_if_kept(cache, k, v, slots.write_slot)
    return _attend(q, *cache, slots), cache


def _write_slot(cache: jax.Array, new: jax.Array, group: tuple, slot: jax.Array) -> jax.Array:
    """Writes `new` [B, H, D] at `cache`[:, *group, :, slot] in place."""
    start = (0, *group, 0, slot, 0)
    batch, heads, dim = new.shape
    new = new.reshape(batch, *(1,) * len(group), heads, 1, dim)
    return jax.lax.dynamic_update_slice(cache, new.astype(cache.dtype), start)


def _write_both(cache: Cache, k: jax.Array, v: jax.Array, group: tuple, slot: jax.Array) -> Cache:
    """Writes keys and values [B, H, D], see `_write_slot`."""
    return Cache(_write_slot(cache.key, k, group, slot), _write_slot(cache.value, v, group, slot))


def _write_if_kept(cache: Cache, k: jax.Array, v: jax.Array, slot: jax.Array) -> Cache:
    """Writes at `slot`, or rewrites the content of slot 0 if it is -1."""
    is_kept = slot >= 0
    k = jnp.where(is_kept, k, cache.key[:, :, 0])
    v = jnp.where(is_kept, v, cache.value[:, :, 0])
    return _write_both(cache, k, v, (), jnp.maximum(slot, 0))


def _attend(q: jax.Array, keys: jax.Array, values: jax.Array, slots: Slots | None) -> jax.Array:
    """Computes softmax(q k) v of one query: [B, H, D] and [B, H, S, D] to [B, H, D].

    All slots are visible if `slots` is None.
    """
    scores = jnp.einsum("bhd,bhsd->bhs", q, keys, preferred_element_type=jnp.float32)
    visible = None if slots is None else jnp.arange(keys.shape[2]) < slots.visible
    probs = softmax(scores, visible)
    out = jnp.einsum("bhs,bhsd->bhd", probs.astype(values.dtype), values)
    return out.astype(q.dtype)


def _step_in_row(
    cache: Cache, q: jax.Array, k: jax.Array, v: jax.Array, slots: Slots
) -> tuple[jax.Array, Cache]:
    """Computes a step of kind 1: the position attends to its row so far, and to itself.

    NOTE: the cache is read before it is written, and the written values depend on the read ones:
    otherwise XLA's CPU compiler copies the cache up to three times a step.
    """
    numbers = jnp.arange(cache.key.shape[2])
    is_own_slot = numbers == slots.write_slot
    scores = jnp.einsum("bhd,bhsd->bhs", q, cache.key, preferred_element_type=jnp.float32)
    own_score = jnp.einsum("bhd,bhd->bh", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(is_own_slot, own_score[..., None], scores)
    probs = softmax(scores, numbers < slots.visible)
    earlier = jnp.where(is_own_slot, 0.0, probs).astype(v.dtype)
    own_prob = jnp.where(is_own_slot, probs, 0.0).sum(axis=-1).astype(v.dtype)
    out = jnp.einsum("bhs,bhsd->bhd", earlier, cache.value) + own_prob[..., None] * v
    return out, _write_both(cache, k + 0.0 * out, v + 0.0 * out, (), slots.write_slot)
