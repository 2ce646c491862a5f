"""Attention as reshaped batched products, with an explicit backward pass: the `xla` backend.

Differences from JAX's derivative of `kinds.attend`:

- The outputs (D numbers a query), not the probabilities (S numbers), are divided by the softmax's
  denominator.
- The backward pass computes the softmax gradient's sum over keys from the outputs (Rabe & Staats
  2021, Dao et al. 2022), and does not mask again.
- The mask is added to the scores: XLA's CPU compiler fuses the addition, but not a select.
- In a causal group the first half of the queries is not multiplied with the second half of the
  keys, which are masked.
- Kind 3 omits the queries of the first row, which attend to no key, instead of padding the keys.

Letters as in groups.py; leading axes are groups of all sequences and heads.
"""

import functools

import jax
import jax.numpy as jnp

from jukejax.ops.attention import groups as attention_groups
from jukejax.ops.attention.kinds import (
    MASKED,
    AttentionKind,
    Grid,
    count_row_ends,
    summary_keys,
    summary_positions,
)
from jukejax.ops.cpu import batched_products
from jukejax.ops.cpu.switch import is_for_cpu

_HALVED = 32  # smallest number of queries for which a causal group is computed in two halves

# The mask of a group: the index of the first query among the keys if it is causal, (row length,
# positions kept of each row) for summaries, None without a mask.
Visible = int | tuple[int, int] | None


def attend(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, *, grid: Grid
) -> jax.Array:
    """Computes attention of any kind: [B, T, H, D] in q's dtype. No [T, T] mask for kinds 1 to 6.

    Args:
      kind: selects the positions that each query attends to.
      q: [B, T, H, D].
      k: [B, S, H, D]; S is T, or the encoder's length for kind 6.
      v: as k.
      grid: of the window.
    """
    visible: Visible = 0 if attention_groups.is_causal(kind) else None
    if kind in (AttentionKind.SUMMARY, AttentionKind.SUMMARY_SPREAD):
        spread = count_row_ends(kind, grid.spread)
        visible = (grid.block_len, spread)
        k, v = (summary_keys(x, grid.block_len, spread) for x in (k, v))
    groups = attention_groups.split_groups(
        kind, q, k, v, block_len=grid.block_len, prime_len=grid.prime_len
    )
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        out = _attend_halves(*groups.flatten(), visible).reshape(groups.query.shape)
    else:  # batch and heads may be sharded over devices, and must remain separate axes
        out = _attend_halves(*groups, visible)
    return attention_groups.merge_groups(kind, out)


def _attend_halves(q: jax.Array, k: jax.Array, v: jax.Array, visible: Visible) -> jax.Array:
    """Computes `_attend`; of a causal group without the quarter of the scores that is masked."""
    queries = q.shape[-2]
    if visible != 0 or queries != k.shape[-2] or queries < _HALVED:
        return _attend(q, k, v, visible)
    half = queries // 2
    early = _attend(*(x[..., :half, :] for x in (q, k, v)), 0)
    late = _attend(q[..., half:, :], k, v, half)
    return jnp.concatenate([early, late], axis=-2)


def _mask(queries: int, keys: int, visible: int | tuple[int, int]) -> jax.Array:
    """Returns the mask to add to the scores, [Q, S]: 0 for visible keys, MASKED for others."""
    query = jnp.arange(queries)[:, None]
    if isinstance(visible, int):
        is_visible = query + visible >= jnp.arange(keys)[None, :]
    else:
        block_len, spread = visible
        is_visible = query >= summary_positions(queries // block_len, block_len, spread)[None, :]
    return jnp.where(is_visible, 0.0, MASKED)


def _einsum(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(q: jax.Array, k: jax.Array, v: jax.Array, visible: Visible) -> jax.Array:
    """Computes softmax(q k) v over groups: [..., Q, D] and [..., S, D] to [..., Q, D]."""
    return _forward(q, k, v, visible)[0]


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, visible: Visible
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    scores = _einsum("...qd,...sd->...qs", q, k)
    if visible is not None:
        queries, keys = scores.shape[-2:]
        scores = scores + _mask(queries, keys, visible)
    exp_scores = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    inv_denom = 1.0 / exp_scores.sum(axis=-1, keepdims=True)  # [..., Q, 1]
    exp_scores = exp_scores.astype(v.dtype)
    out = (_einsum("...qs,...sd->...qd", exp_scores, v) * inv_denom).astype(v.dtype)
    return out, (q, k, v, exp_scores, inv_denom, out)


def _backward(
    visible: Visible, residuals: tuple[jax.Array, ...], dout: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del visible  # exp_scores of a masked key are 0
    q, k, v, exp_scores, inv_denom, out = residuals
    scaled_dout = dout * inv_denom  # float32
    delta = (scaled_dout * out).sum(axis=-1, keepdims=True)  # FlashAttention's, times inv_denom
    scaled_dout = scaled_dout.astype(v.dtype)
    dscores = exp_scores * (_einsum("...qd,...sd->...qs", scaled_dout, v) - delta)
    dscores = dscores.astype(k.dtype)
    dq = _einsum("...qs,...sd->...qd", dscores, k)
    dk, dv = _sum_over_queries(dscores, q), _sum_over_queries(exp_scores, scaled_dout)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def _sum_over_queries(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Multiplies [..., Q, S] and [..., Q, D] to float32 [..., S, D]."""
    if is_for_cpu():
        return batched_products.sum_over_queries(weights, x)
    return _einsum("...qs,...qd->...sd", weights, x)


_attend.defvjp(_forward, _backward)
