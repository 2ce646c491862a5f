"""Attention as reshaped batched products, with a backward pass of its own: the `xla` backend.

What it saves over letting JAX differentiate `attention.attend`: probabilities are never divided by
their sum, the outputs are (D numbers a query instead of S); the backward pass takes the sum over
keys that softmax's gradient needs from the outputs (Rabe & Staats 2021, Dao et al. 2022) and does
not mask again; the mask is added, which XLA's CPU kernels fuse and a select they do not; the early
half of a causal group's queries never meets the late half of its keys; kind 3 leaves out the row
that sees nothing instead of padding the sequence.

Dimensions as in ops/attention/groups.py; N groups of all sequences and heads together.
"""

import functools

import jax
import jax.numpy as jnp

from jukejax.ops.attention import groups as attention_rows
from jukejax.ops.attention.kinds import AttentionKind, summary_keys, summary_positions

HIDDEN = -1e30  # added to the float32 score of a key that must not be seen
# Of queries x keys in a group. XLA's CPU kernels take no product over the first axis of a matrix:
# it runs one group at a time, 1.7 us each. Up to this size a transposed copy is cheaper.
_SMALL = 64 * 64
_HALVED = 32  # queries from which a causal group is attended in two halves

# Where the first query lies among the keys, (row length, positions kept), or every key is seen.
Visible = int | tuple[int, int] | None


def attend(
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    block_len: int,
    spread: int = 1,
    prime_len: int = 0,
) -> jax.Array:
    """As `attention.attend` without probabilities and dropout: [B, T, H, D] in q's dtype.

    No mask of [T, T] is kept for kinds 1 to 6.
    """
    visible: Visible = 0 if attention_rows.is_causal(kind) else None
    if kind in (AttentionKind.SUMMARY, AttentionKind.SUMMARY_SPREAD):
        kept = 1 if kind == AttentionKind.SUMMARY else spread
        visible = (block_len, kept)
        k, v = (summary_keys(x, block_len, kept) for x in (k, v))
    groups = attention_rows.apart(kind, q, k, v, block_len=block_len, prime_len=prime_len)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        out = _attend_halves(*groups.flat(), visible).reshape(groups.query.shape)
    else:  # batch and heads may lie on different devices: they must stay axes
        out = _attend_halves(*groups, visible)
    return attention_rows.together(kind, out)


def _attend_halves(q: jax.Array, k: jax.Array, v: jax.Array, visible: Visible) -> jax.Array:
    """As `_attend`; of a causal group's four quarters of scores, the hidden one is left out."""
    queries = q.shape[-2]
    if visible != 0 or queries != k.shape[-2] or queries < _HALVED:
        return _attend(q, k, v, visible)
    half = queries // 2
    early = _attend(*(x[..., :half, :] for x in (q, k, v)), 0)
    late = _attend(q[..., half:, :], k, v, half)
    return jnp.concatenate([early, late], axis=-2)


def _hidden(queries: int, keys: int, visible: Visible) -> jax.Array:
    """What is added to the scores, [Q, S]: 0 where a key is seen."""
    query = jnp.arange(queries)[:, None]
    if isinstance(visible, int):
        seen = query + visible >= jnp.arange(keys)[None, :]
    else:
        block_len, kept = visible
        seen = query >= summary_positions(queries // block_len, block_len, kept)[None, :]
    return jnp.where(seen, 0.0, HIDDEN)


def _product(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(q: jax.Array, k: jax.Array, v: jax.Array, visible: Visible) -> jax.Array:
    """softmax(q k) v over groups: [..., Q, D] and [..., S, D] to [..., Q, D]."""
    return _forward(q, k, v, visible)[0]


def _forward(q, k, v, visible):
    scores = _product("...qd,...sd->...qs", q, k)
    if visible is not None:
        scores = scores + _hidden(*scores.shape[-2:], visible)
    powers = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    share = 1.0 / powers.sum(axis=-1, keepdims=True)  # [..., Q, 1]; the largest power is 1
    powers = powers.astype(v.dtype)
    out = (_product("...qs,...sd->...qd", powers, v) * share).astype(v.dtype)
    return out, (q, k, v, powers, share, out)


def _backward(visible, kept, given):
    del visible  # a hidden key's power is 0
    q, k, v, powers, share, out = kept
    given = given * share  # float32
    through = (given * out).sum(axis=-1, keepdims=True)  # sum over keys of probability x gradient
    given = given.astype(v.dtype)
    scores = powers * (_product("...qd,...sd->...qs", given, v) - through)
    scores = scores.astype(k.dtype)
    grads = (
        _product("...qs,...sd->...qd", scores, k),
        _by_key(scores, q),
        _by_key(powers, given),
    )
    return tuple(grad.astype(x.dtype) for grad, x in zip(grads, (q, k, v), strict=True))


def _by_key(weights: jax.Array, x: jax.Array) -> jax.Array:
    """Sums over queries: [..., Q, S] and [..., Q, D] to [..., S, D]."""
    queries, keys = weights.shape[-2:]
    if queries * keys <= _SMALL:
        return _product("...sq,...qd->...sd", _transposed(weights), x)
    if x.shape[-1] < keys:
        return _transposed(_product("...dq,...qs->...ds", _transposed(x), weights), early=True)
    return _product("...qs,...qd->...sd", weights, x)


def _transposed(x: jax.Array, early: bool = False) -> jax.Array:
    """x with its last two axes swapped, on CPUs by a copy that no product takes into itself: the
    product before it if `early`, else the one after it. Elsewhere as the compiler likes."""
    keep = jax.lax.optimization_barrier

    def copied(x: jax.Array) -> jax.Array:
        return keep(x).swapaxes(-1, -2) if early else keep(x.swapaxes(-1, -2))

    return jax.lax.platform_dependent(x, cpu=copied, default=lambda x: x.swapaxes(-1, -2))


_attend.defvjp(_forward, _backward)
