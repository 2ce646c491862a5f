"""Attention over the rows and columns of a grid on CPUs: the `native` backend.

XLA custom calls of our own (attention.cc), built when jukejax is installed and there is a compiler.
What the projection wrote is read in place, and scores never leave a core's cache.

Dimensions as in ops/attention/kinds.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops.attention import groups as attention_rows
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cpu import library as compiled

_TILE, _MOST = 16, 512  # sizes are multiples of the one; groups have at most the other
LIBRARY = compiled.Library("attention", "AttentionUsable", ("Forward", "Backward"))


def refusal(
    kind: AttentionKind, *, seq_len: int, block_len: int, head_dim: int, dtype: jnp.dtype
) -> str | None:
    """Why the custom calls cannot do a layer; None if they can."""
    if kind not in attention_rows.BY_GRID:
        return f"it is for kinds 1 to 3, and this is kind {int(kind)}"
    if dtype != jnp.float32:
        return f"it is for float32, and this is {jnp.dtype(dtype).name}"
    size = seq_len // block_len if kind == AttentionKind.TRANSPOSED_BLOCK else block_len
    if seq_len % block_len or size % _TILE or size > _MOST:
        return f"it is for groups of 16, 32 ... {_MOST} positions, and these have {size}"
    if head_dim % _TILE:
        return f"it is for heads of 16, 32 ... numbers, and these have {head_dim}"
    return LIBRARY.find_fault() or None


def attend(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, *, block_len: int
) -> jax.Array:
    """As `attention.attend` without probabilities and dropout: [B, T, H, D]."""
    return attend_packed(kind, jnp.stack([q, k, v], axis=2), block_len)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def attend_packed(kind: AttentionKind, qkv: jax.Array, block_len: int) -> jax.Array:
    """Queries, keys and values of one projection, float32 [B, T, 3, H, D], to [B, T, H, D]."""
    return _forward(kind, qkv, block_len)[0]


def _forward(kind: AttentionKind, qkv: jax.Array, block_len: int):
    batch, time, _, heads, dim = qkv.shape
    out = jax.ShapeDtypeStruct((batch, time, heads, dim), qkv.dtype)
    stats = jax.ShapeDtypeStruct((2, batch, heads, time), qkv.dtype)  # of softmax
    out, stats = _call("Forward", (out, stats), kind, block_len)(qkv)
    return out, (qkv, stats)


def _backward(kind: AttentionKind, block_len: int, kept, grad: jax.Array):
    qkv, stats = kept
    shape = jax.ShapeDtypeStruct(qkv.shape, qkv.dtype)
    return (_call("Backward", shape, kind, block_len)(qkv, stats, grad),)


attend_packed.defvjp(_forward, _backward)


def _call(handler: str, result, kind: AttentionKind, block_len: int):
    call = jax.ffi.ffi_call(LIBRARY.target(handler), result, vmap_method="sequential")
    return functools.partial(call, kind=np.int64(kind), block_len=np.int64(block_len))
