"""Factorized attention of the Sparse Transformer, as Jukebox uses it (Jukebox paper, section 4.1).

A sequence of `T` positions is read as `R` rows of `block_len` columns: position = row * block_len +
column. In each kind a query attends to another causal part of that grid; three kinds in turn reach
every earlier position.

Dimensions: B batch, T time, H heads, D head_dim, R rows, L block_len, S keys.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# The float32 score of a masked key, or the term added to it, whose probability is then 0.
MASKED = -1e9


class AttentionKind(enum.IntEnum):
    """The positions that a query attends to. The numbers are OpenAI's `attn_func`."""

    DENSE = 0  # every earlier position
    BLOCK = 1  # its own row, up to itself
    TRANSPOSED_BLOCK = 2  # its own column, up to itself
    PREVIOUS_BLOCK = 3  # the whole row before its own
    SUMMARY = 4  # the last position of each row that ended
    SUMMARY_SPREAD = 5  # the last `spread` positions of each row, up to itself
    ENCODER_DECODER = 6  # all states of the lyric encoder
    PRIME = 7  # the first `prime_len` positions, up to itself


class Grid(NamedTuple):
    """The shape of a window, static under jit.

    Attributes:
      num_rows: R.
      block_len: L, columns of a row.
      spread: keys of each row in kind 5.
      prime_len: keys of kind 7.
    """

    num_rows: int
    block_len: int
    spread: int = 1
    prime_len: int = 0


def count_keys(kind: AttentionKind, grid: Grid, encoder_len: int = 0) -> int:
    """Returns the largest number of keys that a query attends to, zero slots included.

    Args:
      encoder_len: states of the lyric encoder, for kind 6.
    """
    return {
        AttentionKind.DENSE: grid.num_rows * grid.block_len,
        AttentionKind.BLOCK: grid.block_len,
        AttentionKind.TRANSPOSED_BLOCK: grid.num_rows,
        AttentionKind.PREVIOUS_BLOCK: grid.block_len,
        AttentionKind.SUMMARY: grid.num_rows,
        AttentionKind.SUMMARY_SPREAD: grid.num_rows * grid.spread,
        AttentionKind.ENCODER_DECODER: encoder_len,
        AttentionKind.PRIME: grid.prime_len,
    }[kind]


_BLOCK, _COLUMN, _PREVIOUS = (
    AttentionKind.BLOCK,
    AttentionKind.TRANSPOSED_BLOCK,
    AttentionKind.PREVIOUS_BLOCK,
)
_DENSE, _SUMMARY, _SPREAD = (
    AttentionKind.DENSE,
    AttentionKind.SUMMARY,
    AttentionKind.SUMMARY_SPREAD,
)
_CROSS, _PRIME = AttentionKind.ENCODER_DECODER, AttentionKind.PRIME
_FACTORIZED = (_BLOCK, _COLUMN, _PREVIOUS)

_CYCLES: dict[int, tuple[AttentionKind, ...]] = {
    0: (_DENSE,),
    1: (_BLOCK, _COLUMN),
    2: _FACTORIZED,
    3: (_BLOCK, _SUMMARY),
    4: (_BLOCK, _SPREAD),
    5: (_BLOCK, _SUMMARY, _BLOCK, _BLOCK),
    6: (*_FACTORIZED, _CROSS),
    7: (*_FACTORIZED * 5, _CROSS),
    8: (*_FACTORIZED * 3, _CROSS),
    9: (*_FACTORIZED, _DENSE),
    10: (*_FACTORIZED * 3, *(*_FACTORIZED * 3, _CROSS) * 7),
}
# Every 16th layer is of another kind, and counts as a layer of the cycle of three.
_EVERY_16TH: dict[int, tuple[AttentionKind, ...]] = {
    11: (_CROSS, _CROSS, _DENSE),
    12: (_PRIME, _PRIME, _DENSE),
}


def attention_pattern(attn_order: int, num_layers: int) -> tuple[AttentionKind, ...]:
    """Returns the kind of each layer for one of OpenAI's `attn_order` numbers, 0 to 12."""
    if attn_order in _CYCLES:
        cycle = _CYCLES[attn_order]
        return tuple(cycle[layer % len(cycle)] for layer in range(num_layers))
    if attn_order in _EVERY_16TH:
        special = _EVERY_16TH[attn_order]
        return tuple(
            special[layer % 3] if layer % 16 == 15 else _FACTORIZED[layer % 3]
            for layer in range(num_layers)
        )
    raise ValueError(f"attn_order is {attn_order}; known patterns are 0 to 12")


def prime_length(lyric_len: int, num_blocks: int) -> int:
    """Returns the keys of kind 7: the lyrics, rounded up past a multiple of num_blocks."""
    return (lyric_len // num_blocks + 1) * num_blocks


def scale_query_key(q: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scales q and k by head_dim**-0.25, which keeps their products in the range of float16."""
    scale = q.shape[-1] ** -0.25
    return q * jnp.asarray(scale, q.dtype), k * jnp.asarray(scale, k.dtype)


def softmax(scores: jax.Array, visible: jax.Array | None) -> jax.Array:
    """Computes softmax over the last axis in float32; 0 where `visible` is False."""
    scores = scores.astype(jnp.float32)
    if visible is not None:
        scores = jnp.where(visible, scores, MASKED)
    return jax.nn.softmax(scores, axis=-1)


def _causal(queries: int, keys: int) -> jax.Array:
    return jnp.arange(queries)[:, None] >= jnp.arange(keys)[None, :]


def count_row_ends(kind: AttentionKind, spread: int) -> int:
    """Returns the positions at the end of each row that a kind of summary keeps."""
    return 1 if kind == _SUMMARY else spread


def summary_keys(x: jax.Array, block_len: int, spread: int) -> jax.Array:
    """Selects the ends of all rows but the last, after zeros. -> [B, R * spread, H, D]."""
    batch, time, heads, dim = x.shape
    ends = x.reshape(batch, time // block_len, block_len, heads, dim)[:, :-1, -spread:]
    ends = jnp.pad(ends, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
    return ends.reshape(batch, -1, heads, dim)


def summary_positions(num_rows: int, block_len: int, spread: int) -> jax.Array:
    """Returns the first query that attends to each summary slot, int32 [R * spread].

    It is 0 for the zero slots. NOTE: as in OpenAI's mask, the end of a row also attends to itself,
    not only to earlier rows.
    """
    row = jnp.arange(num_rows)[:, None]
    position = row * block_len - spread + jnp.arange(spread)[None, :]
    return jnp.where(row == 0, 0, position).reshape(-1)


class _Arrangement(NamedTuple):
    """Queries, keys and values with the axes of a kind, the products over them, and the mask.

    Attributes:
      to_scores, to_output: subscripts of the products with keys, and with values.
      visible: bool [queries, keys] of a group; None without a mask.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    to_scores: str
    to_output: str
    visible: jax.Array | None


def _arrange_rows(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, block_len: int
) -> _Arrangement:
    """Arranges kinds 1 to 3, whose queries attend within one row or column."""
    if q.shape[1] % block_len:
        raise ValueError(f"{q.shape[1]} positions do not fill rows of {block_len} (num_blocks)")
    q, k, v = (x.reshape(x.shape[0], -1, block_len, *x.shape[2:]) for x in (q, k, v))
    if kind == _COLUMN:
        visible = _causal(q.shape[1], q.shape[1])
        return _Arrangement(q, k, v, "brlhd,bslhd->blhrs", "blhrs,bslhd->brlhd", visible)
    row_products = "brlhd,brshd->brhls", "brhls,brshd->brlhd"
    if kind == _BLOCK:
        return _Arrangement(q, k, v, *row_products, _causal(block_len, block_len))
    # The first row attends to zeros.
    k, v = (jnp.pad(x[:, :-1], ((0, 0), (1, 0), *((0, 0),) * 3)) for x in (k, v))
    return _Arrangement(q, k, v, *row_products, None)


def _arrange_whole(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, grid: Grid
) -> _Arrangement:
    """Arranges the other kinds, whose queries share all keys."""
    visible = None
    if kind == _PRIME:
        k, v = k[:, : grid.prime_len], v[:, : grid.prime_len]
    if kind in (_DENSE, _PRIME):
        visible = _causal(q.shape[1], k.shape[1])
    elif kind in (_SUMMARY, _SPREAD):
        row_ends = count_row_ends(kind, grid.spread)
        k, v = (summary_keys(x, grid.block_len, row_ends) for x in (k, v))
        first = summary_positions(q.shape[1] // grid.block_len, grid.block_len, row_ends)
        visible = jnp.arange(q.shape[1])[:, None] >= first[None, :]
    return _Arrangement(q, k, v, "bthd,bshd->bhts", "bhts,bshd->bthd", visible)


def attend(
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    grid: Grid,
    *,
    causal: bool = True,
    dropout: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Computes attention of every position as reshaped batched products, without a [T, T] mask.

    Args:
      kind: selects the positions that each query attends to.
      q: [B, T, H, D]; T is a multiple of the grid's block_len for kinds 1 to 5.
      k: [B, S, H, D]; S is T, or the encoder's length for kind 6.
      v: as k.
      grid: shape of the window; num_rows is not used.
      causal: False removes the mask: each query attends to all keys of its kind, later ones too.
      dropout: applied to the probabilities.

    Returns:
      (output [B, T, H, D] in q's dtype, probabilities in float32 with the kind's own axes).
    """
    q, k = scale_query_key(q, k)
    if kind in _FACTORIZED:
        arranged = _arrange_rows(kind, q, k, v, grid.block_len)
    else:
        arranged = _arrange_whole(kind, q, k, v, grid)
    q, k, v, to_scores, to_output, visible = arranged
    scores = jnp.einsum(to_scores, q, k, preferred_element_type=jnp.float32)
    probs = softmax(scores, visible if causal else None)
    weights = probs if dropout is None else dropout(probs)
    out = jnp.einsum(to_output, weights.astype(v.dtype), v)
    return out.reshape(out.shape[0], -1, *out.shape[-2:]), probs


def visible_positions(kind: AttentionKind, seq_len: int, grid: Grid) -> jax.Array:
    """Returns a kind's definition as a mask, bool [query, key]; not for kind 6.

    Args:
      seq_len: number of queries and of keys; the grid's num_rows is not used.
    """
    block_len = grid.block_len
    query, key = jnp.arange(seq_len)[:, None], jnp.arange(seq_len)[None, :]
    row, col, key_row, key_col = (
        query // block_len,
        query % block_len,
        key // block_len,
        key % block_len,
    )
    if kind == _CROSS:
        raise ValueError("kind 6 attends to the encoder's states, not to its own sequence")
    row_ends = count_row_ends(kind, grid.spread)
    row_end = (key_col >= block_len - row_ends) & (key_row < (seq_len // block_len) - 1)
    return {
        _DENSE: key <= query,
        _BLOCK: (key <= query) & (key_row == row),
        _COLUMN: (key <= query) & (key_col == col),
        _PREVIOUS: jnp.broadcast_to(key_row == row - 1, (seq_len, seq_len)),
        _SUMMARY: (key <= query) & row_end,
        _SPREAD: (key <= query) & row_end,
        _PRIME: (key <= query) & (key < grid.prime_len),
    }[kind]
