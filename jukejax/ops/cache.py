"""Compact key-value caches: each attention kind keeps only what later positions can still see.

| kind                 | kept                                     | layout                  |
|----------------------|------------------------------------------|-------------------------|
| dense                | the whole window                         | [B, H, T, D]            |
| block                | one row, overwritten as the next begins  | [B, H, L, D]            |
| transposed block     | the whole window, column by column       | [B, L, H, R, D]         |
| previous block       | two rows, in turn                        | [B, 2, H, L, D]         |
| summary, spread      | a zero slot and the end of each row      | [B, H, R * spread, D]   |
| encoder-decoder      | the encoder's keys and values            | [B, H, S, D]            |
| prime                | the first `prime_len` positions          | [B, H, P, D]            |

Dimensions as in attention/kinds.py. Keys are stored scaled. A head's keys lie together, so that a
step multiplies them where they are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.ops.attention.kinds import (
    AttentionKind,
    scale_query_key,
    softmax,
    summary_keys,
    summary_positions,
)


class Cache(NamedTuple):
    """Scaled keys and values of one layer; shapes in the table above."""

    key: jax.Array
    value: jax.Array


class Grid(NamedTuple):
    """The shape of a window, static under jit."""

    num_rows: int
    block_len: int
    spread: int = 1
    prime_len: int = 0


def _kept(kind: AttentionKind, grid: Grid) -> int:
    return 1 if kind == AttentionKind.SUMMARY else grid.spread


def cache_shape(
    kind: AttentionKind, grid: Grid, batch: int, num_heads: int, head_dim: int, encoder_len: int = 0
) -> tuple[int, ...]:
    """Shape of the keys (and of the values) that one layer keeps."""
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


def fill(kind: AttentionKind, grid: Grid, k: jax.Array, v: jax.Array, length: jax.Array) -> Cache:
    """The cache after `length` positions, from the keys and values of a whole pass.

    Args:
      kind: of the layer; for kind 6 `k` and `v` are the encoder's and `length` is not used.
      grid: of the window.
      k: unscaled keys [B, T, H, D], T = num_rows * block_len. Positions from `length` on may hold
        anything: a step overwrites or masks them before they are seen.
      v: values, as k.
      length: int32 scalar, positions already fixed.
    """
    _, k = scale_query_key(k, k)
    rows = (k.shape[0], grid.num_rows, grid.block_len, *k.shape[2:])
    row = jnp.maximum(length - 1, 0) // grid.block_len  # of the last fixed position

    def keep(x: jax.Array) -> jax.Array:
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
                return jnp.where(row % 2 == 1, both, both[:, ::-1])  # row r lives in slot r % 2
            case AttentionKind.SUMMARY | AttentionKind.SUMMARY_SPREAD:
                return summary_keys(x, grid.block_len, _kept(kind, grid))
            case AttentionKind.PRIME:
                return x[:, : grid.prime_len]
            case _:
                return x

    return Cache(keep(k).swapaxes(-3, -2), keep(v).swapaxes(-3, -2))


def _write(cache: jax.Array, new: jax.Array, group: tuple, slot: jax.Array) -> jax.Array:
    """Puts `new` [B, H, D] at `cache`[:, *group, :, slot] in place."""
    start = (0, *group, 0, slot, 0)
    batch, heads, dim = new.shape
    new = new.reshape(batch, *(1,) * len(group), heads, 1, dim)
    return jax.lax.dynamic_update_slice(cache, new.astype(cache.dtype), start)


def _step_in_row(
    cache: Cache, q: jax.Array, k: jax.Array, v: jax.Array, col: jax.Array
) -> tuple[jax.Array, Cache]:
    """`step` of kind 1: the new position sees its row as it was, and itself beside it.

    NOTE: the cache is read before it is written, and what is written depends on what was read.
    Otherwise XLA's CPU compiler makes up to three copies of it a step.
    """
    slots = jnp.arange(cache.key.shape[2])
    own = slots == col
    scores = jnp.einsum("bhd,bhsd->bhs", q, cache.key, preferred_element_type=jnp.float32)
    itself = jnp.einsum("bhd,bhd->bh", q, k, preferred_element_type=jnp.float32)
    probs = softmax(jnp.where(own, itself[..., None], scores), slots <= col)
    before = jnp.where(own, 0.0, probs).astype(v.dtype)
    share = jnp.where(own, probs, 0.0).sum(axis=-1).astype(v.dtype)
    out = jnp.einsum("bhs,bhsd->bhd", before, cache.value) + share[..., None] * v
    k, v = k + 0.0 * out, v + 0.0 * out
    return out, Cache(_write(cache.key, k, (), col), _write(cache.value, v, (), col))


def step(
    kind: AttentionKind,
    grid: Grid,
    cache: Cache,
    q: jax.Array,
    k: jax.Array | None,
    v: jax.Array | None,
    position: jax.Array,
) -> tuple[jax.Array, Cache]:
    """Attention of one new position.

    Args:
      kind: of the layer.
      grid: of the window.
      cache: what came before.
      q: [B, H, D].
      k: [B, H, D], None for kind 6, as v.
      v: [B, H, D].
      position: int32 scalar in the window.

    Returns:
      (output [B, H, D], the cache with the new position in it).
    """
    q, k = scale_query_key(q, k if k is not None else q)
    row, col = position // grid.block_len, position % grid.block_len

    match kind:
        case AttentionKind.DENSE:
            cache = Cache(_write(cache.key, k, (), position), _write(cache.value, v, (), position))
            visible = jnp.arange(cache.key.shape[2]) <= position
            keys, values = cache
        case AttentionKind.BLOCK:
            return _step_in_row(cache, q, k, v, col)
        case AttentionKind.TRANSPOSED_BLOCK:
            cache = Cache(_write(cache.key, k, (col,), row), _write(cache.value, v, (col,), row))
            visible = jnp.arange(grid.num_rows) <= row
            keys, values = (jax.lax.dynamic_index_in_dim(x, col, 1, keepdims=False) for x in cache)
        case AttentionKind.PREVIOUS_BLOCK:
            slot = row % 2
            cache = Cache(_write(cache.key, k, (slot,), col), _write(cache.value, v, (slot,), col))
            keys, values = (
                jax.lax.dynamic_index_in_dim(x, 1 - slot, 1, keepdims=False) for x in cache
            )
            values = jnp.where(row > 0, values, 0)  # the first row sees zeros
            visible = None
        case AttentionKind.SUMMARY | AttentionKind.SUMMARY_SPREAD:
            kept = _kept(kind, grid)
            slot = (row + 1) * kept + col - (grid.block_len - kept)
            inside = (col >= grid.block_len - kept) & (row < grid.num_rows - 1)
            slot = jnp.where(inside, slot, 0)
            cache = Cache(
                _write(cache.key, jnp.where(inside, k, cache.key[:, :, 0]), (), slot),
                _write(cache.value, jnp.where(inside, v, cache.value[:, :, 0]), (), slot),
            )
            visible = summary_positions(grid.num_rows, grid.block_len, kept) <= position
            keys, values = cache
        case AttentionKind.ENCODER_DECODER:
            visible = None
            keys, values = cache
        case AttentionKind.PRIME:
            last = grid.prime_len - 1
            slot = jnp.minimum(position, last)
            inside = position <= last
            cache = Cache(
                _write(cache.key, jnp.where(inside, k, cache.key[:, :, last]), (), slot),
                _write(cache.value, jnp.where(inside, v, cache.value[:, :, last]), (), slot),
            )
            visible = jnp.arange(grid.prime_len) <= position
            keys, values = cache

    scores = jnp.einsum("bhd,bhsd->bhs", q, keys, preferred_element_type=jnp.float32)
    probs = softmax(scores, visible)
    return jnp.einsum("bhs,bhsd->bhd", probs.astype(values.dtype), values), cache
