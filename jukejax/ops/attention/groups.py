"""Factorised attention taken apart into many small, plain attentions, and put together again.

Each row (kinds 1 and 3) or column (kind 2) of the grid attends by itself; the other kinds are one
attention over the whole sequence. So a kernel needs to know two cases only: causal, or not at all.

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

    def flat(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The same as [B * G * H, Q or S, D]: one axis for kernels to run over."""
        return tuple(x.reshape(-1, *x.shape[-2:]) for x in self)


def is_causal(kind: AttentionKind) -> bool:
    """Whether a query sees no later key of its group; summaries have rules of their own."""
    return kind in (
        AttentionKind.DENSE,
        AttentionKind.BLOCK,
        AttentionKind.TRANSPOSED_BLOCK,
        AttentionKind.PRIME,
    )


def check(kind: AttentionKind, time: int, block_len: int) -> None:
    """Raises ValueError if a sequence does not fill the rows of its grid."""
    if kind in BY_GRID and time % block_len:
        raise ValueError(f"{time} positions do not fill rows of {block_len} (num_blocks)")


def apart(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, *, block_len: int, prime_len: int
) -> Groups:
    """[B, T, H, D] each, to groups. Of kind 3 the first row, which sees nothing, is left out."""
    check(kind, q.shape[1], block_len)
    q, k = scale_query_key(q, k)
    if kind == AttentionKind.PRIME:
        k, v = k[:, :prime_len], v[:, :prime_len]

    def cut(x: jax.Array) -> jax.Array:
        if kind not in BY_GRID:
            return x.swapaxes(1, 2)[:, None]  # [B, 1, H, T, D]
        x = x.reshape(x.shape[0], -1, block_len, *x.shape[2:])  # [B, R, L, H, D]
        order = (0, 2, 3, 1, 4) if kind == AttentionKind.TRANSPOSED_BLOCK else (0, 1, 3, 2, 4)
        return x.transpose(order)

    q, k, v = (cut(x) for x in (q, k, v))
    if kind == AttentionKind.PREVIOUS_BLOCK:
        q, k, v = q[:, 1:], k[:, :-1], v[:, :-1]
    return Groups(q, k, v)


def together(kind: AttentionKind, out: jax.Array) -> jax.Array:
    """Outputs of groups [B, G, H, Q, D] to [B, T, H, D]; kind 3 gets its first row, of zeros."""
    if kind == AttentionKind.PREVIOUS_BLOCK:
        out = jnp.pad(out, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
    order = (0, 3, 1, 2, 4) if kind == AttentionKind.TRANSPOSED_BLOCK else (0, 1, 3, 2, 4)
    out = out.transpose(order)  # [B, R, L, H, D], or [B, 1, T, H, D]
    return out.reshape(out.shape[0], -1, *out.shape[3:])
