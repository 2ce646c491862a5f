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
    count_row_ends,
    scale_query_key,
    softmax,
    summary_keys,
    summary_positions,
)


class Cache(NamedTuple):
    """Scaled keys and values of one layer; shapes in the table above."""

    key: jax.Array
    value: jax.Array


def cache_shape(
    kind: AttentionKind, grid: Grid, batch: int, num_heads: int, head_dim: int, encoder_len: int = 0
) -> tuple[int, ...]:
    """Returns the shape of the keys (and of the values) that one layer keeps."""
    groups, slots = {
        AttentionKind.DENSE: ((), grid.num_rows * grid.block_len),
        AttentionKind.BLOCK: ((), grid.block_len),
        AttentionKind.TRANSPOSED_BLOCK: ((grid.block_len,), grid.num_rows),
        AttentionKind.PREVIOUS_BLOCK: ((2,), grid.block_len),
        AttentionKind.SUMMARY: ((), grid.num_rows),
        AttentionKind.SUMMARY_SPREAD: ((), grid.num_rows * grid.spread),
        AttentionKind.ENCODER_DECODER: ((), encoder_len),
        AttentionKind.PRIME: ((), grid.prime_len),
    }[kind]
    return (batch, *groups, num_heads, slots, head_dim)


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


def _write_slot(cache: jax.Array, new: jax.Array, group: tuple, slot: jax.Array) -> jax.Array:
    """Writes `new` [B, H, D] at `cache`[:, *group, :, slot] in place."""
    start = (0, *group, 0, slot, 0)
    batch, heads, dim = new.shape
    new = new.reshape(batch, *(1,) * len(group), heads, 1, dim)
    return jax.lax.dynamic_update_slice(cache, new.astype(cache.dtype), start)


def _write_both(cache: Cache, k: jax.Array, v: jax.Array, group: tuple, slot: jax.Array) -> Cache:
    """Writes keys and values [B, H, D], see `_write_slot`."""
    return Cache(_write_slot(cache.key, k, group, slot), _write_slot(cache.value, v, group, slot))


def _write_if(
    condition: jax.Array, cache: Cache, k: jax.Array, v: jax.Array, slot: jax.Array, other: int
) -> Cache:
    """Writes at `slot` if the condition holds; otherwise rewrites the content of slot `other`.

    Args:
      slot: equals `other` if the condition does not hold.
    """
    k = jnp.where(condition, k, cache.key[:, :, other])
    v = jnp.where(condition, v, cache.value[:, :, other])
    return _write_both(cache, k, v, (), slot)


def step_attention(
    kind: AttentionKind,
    grid: Grid,
    cache: Cache,
    q: jax.Array,
    k: jax.Array | None,
    v: jax.Array | None,
    position: jax.Array,
) -> tuple[jax.Array, Cache]:
    """Computes attention of one new position.

    Args:
      kind: of the layer.
      grid: of the window.
      cache: of the earlier positions.
      q: [B, H, D].
      k: [B, H, D]; not used for kind 6, as v.
      v: [B, H, D].
      position: int32 scalar in the window.

    Returns:
      (output [B, H, D], the cache with the new position in it).
    """
    q, scaled_k = scale_query_key(q, q if k is None else k)
    if kind == AttentionKind.ENCODER_DECODER or k is None or v is None:
        return _attend(q, cache.key, cache.value, None), cache
    row, col = position // grid.block_len, position % grid.block_len
    match kind:
        case AttentionKind.BLOCK:
            return _step_in_row(cache, q, scaled_k, v, col)
        case AttentionKind.TRANSPOSED_BLOCK:
            return _step_in_column(cache, q, scaled_k, v, row, col)
        case AttentionKind.PREVIOUS_BLOCK:
            return _step_after_row(cache, q, scaled_k, v, row, col)
        case AttentionKind.DENSE:
            cache = _write_both(cache, scaled_k, v, (), position)
            visible = jnp.arange(cache.key.shape[2]) <= position
        case AttentionKind.PRIME:
            last = grid.prime_len - 1
            slot = jnp.minimum(position, last)
            cache = _write_if(position <= last, cache, scaled_k, v, slot, last)
            visible = jnp.arange(grid.prime_len) <= position
        case _:  # summaries
            spread = count_row_ends(kind, grid.spread)
            is_kept = (col >= grid.block_len - spread) & (row < grid.num_rows - 1)
            slot = (row + 1) * spread + col - (grid.block_len - spread)
            slot = jnp.where(is_kept, slot, 0)
            cache = _write_if(is_kept, cache, scaled_k, v, slot, 0)
            visible = summary_positions(grid.num_rows, grid.block_len, spread) <= position
    return _attend(q, cache.key, cache.value, visible), cache


def _attend(
    q: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array | None
) -> jax.Array:
    """Computes softmax(q k) v of one query: [B, H, D] and [B, H, S, D] to [B, H, D]."""
    scores = jnp.einsum("bhd,bhsd->bhs", q, keys, preferred_element_type=jnp.float32)
    probs = softmax(scores, visible)
    return jnp.einsum("bhs,bhsd->bhd", probs.astype(values.dtype), values)


def _step_in_row(
    cache: Cache, q: jax.Array, k: jax.Array, v: jax.Array, col: jax.Array
) -> tuple[jax.Array, Cache]:
    """Computes a step of kind 1: the position attends to its row so far, and to itself.

    NOTE: the cache is read before it is written, and the written values depend on the read ones:
    otherwise XLA's CPU compiler copies the cache up to three times a step.
    """
    slots = jnp.arange(cache.key.shape[2])
    is_own_slot = slots == col
    scores = jnp.einsum("bhd,bhsd->bhs", q, cache.key, preferred_element_type=jnp.float32)
    own_score = jnp.einsum("bhd,bhd->bh", q, k, preferred_element_type=jnp.float32)
    probs = softmax(jnp.where(is_own_slot, own_score[..., None], scores), slots <= col)
    earlier = jnp.where(is_own_slot, 0.0, probs).astype(v.dtype)
    own_prob = jnp.where(is_own_slot, probs, 0.0).sum(axis=-1).astype(v.dtype)
    out = jnp.einsum("bhs,bhsd->bhd", earlier, cache.value) + own_prob[..., None] * v
    return out, _write_both(cache, k + 0.0 * out, v + 0.0 * out, (), col)


def _step_in_column(
    cache: Cache, q: jax.Array, k: jax.Array, v: jax.Array, row: jax.Array, col: jax.Array
) -> tuple[jax.Array, Cache]:
    """Computes a step of kind 2: the position attends to its column so far, and to itself."""
    cache = _write_both(cache, k, v, (col,), row)
    keys, values = (jax.lax.dynamic_index_in_dim(x, col, 1, keepdims=False) for x in cache)
    return _attend(q, keys, values, jnp.arange(keys.shape[2]) <= row), cache


def _step_after_row(
    cache: Cache, q: jax.Array, k: jax.Array, v: jax.Array, row: jax.Array, col: jax.Array
) -> tuple[jax.Array, Cache]:
    """Computes a step of kind 3: the position attends to the row before, in the first to zeros."""
    slot = row % 2
    cache = _write_both(cache, k, v, (slot,), col)
    keys, values = (jax.lax.dynamic_index_in_dim(x, 1 - slot, 1, keepdims=False) for x in cache)
    return _attend(q, keys, jnp.where(row > 0, values, 0), None), cache
