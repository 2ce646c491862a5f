"""Attention over the rows and columns of a grid on CPUs: the `native` backend.

XLA custom calls (attention.cc), built when jukejax is installed if there is a compiler. They read
the output of the projection without copies, and scores stay in a core's cache.

Letters as in ops/attention/kinds.py.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.ops.attention.groups import BY_GRID
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cpu.library import Library

_TILE, _MOST = 16, 512  # the unit of all sizes; the largest group
LIBRARY = Library("attention", "AttentionUsable", ("Forward", "Backward"))


def find_refusal(
    kind: AttentionKind, *, seq_len: int, block_len: int, head_dim: int, dtype: jnp.dtype
) -> str | None:
    """Returns why the custom calls cannot run such a layer; None if they can."""
    if kind not in BY_GRID:
        return f"it is for kinds 1 to 3, and this is kind {int(kind)}"
    if dtype != jnp.float32:
        return f"it is for float32, and this is {jnp.dtype(dtype).name}"
    size = seq_len // block_len if kind == AttentionKind.TRANSPOSED_BLOCK else block_len
    if seq_len % block_len or size % _TILE or size > _MOST:
        return f"it is for groups of 16, 32 ... {_MOST} positions, and these have {size}"
    if head_dim % _TILE:
        return f"it is for heads with a head_dim divisible by {_TILE}, and these have {head_dim}"
    return LIBRARY.find_fault() or None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def attend_packed(kind: AttentionKind, qkv: jax.Array, block_len: int) -> jax.Array:
    """Computes attention of queries, keys and values [B, T, 3, H, D] in float32: [B, T, H, D]."""
    return _forward(kind, qkv, block_len)[0]


def _forward(
    kind: AttentionKind, qkv: jax.Array, block_len: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    batch, time, _, heads, dim = qkv.shape
    out_shape = jax.ShapeDtypeStruct((batch, time, heads, dim), qkv.dtype)
    stats_shape = jax.ShapeDtypeStruct((2, batch, heads, time), qkv.dtype)  # of softmax
    out, stats = _call("Forward", (out_shape, stats_shape), kind, block_len)(qkv)
    return out, (qkv, stats)


def _backward(
    kind: AttentionKind, block_len: int, residuals: tuple[jax.Array, jax.Array], dout: jax.Array
) -> tuple[jax.Array]:
    qkv, stats = residuals
    shape = jax.ShapeDtypeStruct(qkv.shape, qkv.dtype)
    return (_call("Backward", shape, kind, block_len)(qkv, stats, dout),)


attend_packed.defvjp(_forward, _backward)


def _call(handler: str, results: Tree, kind: AttentionKind, block_len: int) -> Callable:
    call = jax.ffi.ffi_call(LIBRARY.target(handler), results, vmap_method="sequential")
    return functools.partial(call, kind=np.int64(kind), block_len=np.int64(block_len))
