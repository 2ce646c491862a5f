"""Splitting of factorized attention into independent dense attentions, and merging of outputs.

Each row (kinds 1 and 3) or column (kind 2) of the grid is a group of its own; the other kinds are
one group, the whole sequence. A kernel therefore needs two cases only: causal or not.

Dimensions as in kinds.py; G groups: rows, columns, or 1; Q queries and S keys of a group.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.ops.attention.kinds import AttentionKind, scale_query_key

BY_GRID = (
    AttentionKind.BLOCK,
    AttentionKind.TRANSPOSED_BLOCK,
    AttentionKind.PREVIOUS_BLOCK,
)


class Groups(NamedTuple):
    """Independent attentions, [B, G, H, Q or S, D] each; keys and queries are scaled."""

    query: jax.Array
    key: jax.Array
    value: jax.Array

    def flatten(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the arrays as [B * G * H, Q or S, D]."""
        query, key, value = (x.reshape(-1, *x.shape[-2:]) for x in self)
        return query, key, value


def is_causal(kind: AttentionKind) -> bool:
    """Returns true if later keys of a group are masked; summaries have masks of their own."""
    return kind in (
        AttentionKind.DENSE,
        AttentionKind.BLOCK,
        AttentionKind.TRANSPOSED_BLOCK,
        AttentionKind.PRIME,
    )


def check_rows(kind: AttentionKind, time: int, block_len: int) -> None:
    """Raises ValueError if a sequence does not fill the rows of its grid."""
    if kind in BY_GRID and time % block_len:
        raise ValueError(f"{time} positions do not fill rows of {block_len} (num_blocks)")


def split_groups(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, *, block_len: int, prime_len: int
) -> Groups:
    """Splits arrays [B, T, H, D]; omits the queries of kind 3 in the first row, without a key."""
    check_rows(kind, q.shape[1], block_len)
    q, k = scale_query_key(q, k)
    if kind == AttentionKind.PRIME:
        k, v = k[:, :prime_len], v[:, :prime_len]
    q, k, v = (_split_array(kind, x, block_len) for x in (q, k, v))
    if kind == AttentionKind.PREVIOUS_BLOCK:
        q, k, v = q[:, 1:], k[:, :-1], v[:, :-1]
    return Groups(q, k, v)


def _split_array(kind: AttentionKind, x: jax.Array, block_len: int) -> jax.Array:
    """Splits [B, T, H, D] into [B, G, H, Q or S, D]."""
    if kind not in BY_GRID:
        return x.swapaxes(1, 2)[:, None]  # [B, 1, H, T, D]
    x = x.reshape(x.shape[0], -1, block_len, *x.shape[2:])  # [B, R, L, H, D]
    order = (0, 2, 3, 1, 4) if kind == AttentionKind.TRANSPOSED_BLOCK else (0, 1, 3, 2, 4)
    return x.transpose(order)


def merge_groups(kind: AttentionKind, out: jax.Array) -> jax.Array:
    """Merges outputs [B, G, H, Q, D] into [B, T, H, D], with zeros for the first row of kind 3."""
    if kind == AttentionKind.PREVIOUS_BLOCK:
        out = jnp.pad(out, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
    order = (0, 3, 1, 2, 4) if kind == AttentionKind.TRANSPOSED_BLOCK else (0, 1, 3, 2, 4)
    out = out.transpose(order)  # [B, R, L, H, D], or [B, 1, T, H, D]
    return out.reshape(out.shape[0], -1, *out.shape[3:])
