"""JAX's block-sparse attention kernel for TPUs with our masks: the `splash` backend.

The kernel skips blocks of [queries, keys] that are completely masked. The positions of a column are
one row apart, so that no block could be skipped: for kind 2 the positions are passed in column
order, in which the mask is block-diagonal like that of kind 1.

The kernel's outputs for queries without a key are undefined; they and their gradients are set to 0.

Dimensions as in ops/attention/kinds.py.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from jukejax.ops.attention.kinds import AttentionKind, scale_query_key

LANES = 128  # positions of the smallest block
_BLOCK = 512  # positions of the largest block; the kernel's own default for long sequences
_LONGEST = 16384  # the mask of this length takes 256 MB on the host

_COLUMN = AttentionKind.TRANSPOSED_BLOCK
KINDS = (
    AttentionKind.DENSE,
    AttentionKind.BLOCK,
    _COLUMN,
    AttentionKind.PREVIOUS_BLOCK,
    AttentionKind.PRIME,
)


def find_refusal(kind: AttentionKind, *, seq_len: int) -> str | None:
    """Returns why this kernel cannot run such a layer; None if it can."""
    if kind not in KINDS:
        return f"kind {int(kind)} has keys that are no positions of its sequence"
    if seq_len % LANES:
        return f"a sequence of {seq_len} is no multiple of {LANES}"
    if seq_len > _LONGEST:
        return f"the mask of a sequence of {seq_len} exceeds {_LONGEST} squared"
    return None


def attend(
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    block_len: int,
    prime_len: int = 0,
    interpret: bool = False,
) -> jax.Array:
    """Computes attention of kinds 0 to 3 and 7, as `xla.attend`: [B, T, H, D] in q's dtype.

    Args:
      interpret: run on a CPU, for tests.
    """
    batch, time, heads, dim = q.shape
    q, k = scale_query_key(q, k)

    def lay_out(x: jax.Array) -> jax.Array:
        if kind == _COLUMN:
            x = x.reshape(batch, -1, block_len, heads, dim).swapaxes(1, 2)
            x = x.reshape(batch, time, heads, dim)
        return x.swapaxes(1, 2)  # [B, H, T, D]

    kernel = _kernel(kind, time, heads, block_len, prime_len, interpret)
    out = jax.vmap(kernel)(*(lay_out(x) for x in (q, k, v))).swapaxes(1, 2)
    if kind == AttentionKind.PREVIOUS_BLOCK:
        out = jnp.where((jnp.arange(time) < block_len)[:, None, None], 0, out)
    if kind == _COLUMN:
        out = out.reshape(batch, block_len, -1, heads, dim).swapaxes(1, 2)
    return out.reshape(batch, time, heads, dim)


def build_mask(kind: AttentionKind, seq_len: int, *, block_len: int, prime_len: int) -> np.ndarray:
    """Returns the mask, bool [query, key], on the host; positions of kind 2 are in column order."""
    length = seq_len // block_len if kind == _COLUMN else block_len
    query, key = np.arange(seq_len)[:, None], np.arange(seq_len)[None, :]
    if kind == AttentionKind.PREVIOUS_BLOCK:
        return key // length == query // length - 1
    mask = key <= query
    if kind in (AttentionKind.BLOCK, _COLUMN):
        mask &= key // length == query // length
    elif kind == AttentionKind.PRIME:
        mask &= key < prime_len
    return mask


@functools.lru_cache(maxsize=16)
def _kernel(
    kind: AttentionKind,
    seq_len: int,
    heads: int,
    block_len: int,
    prime_len: int,
    interpret: bool,
) -> Callable:
    mask = masks.NumpyMask(build_mask(kind, seq_len, block_len=block_len, prime_len=prime_len))
    size = next(size for size in (_BLOCK, 256, LANES) if seq_len % size == 0)
    if kind not in (AttentionKind.DENSE, AttentionKind.PRIME):
        size = LANES  # larger blocks would span more than one row
    sizes = splash.BlockSizes(
        block_q=size, block_kv=size, block_kv_compute=size,
        block_q_dkv=size, block_kv_dkv=size, block_kv_dkv_compute=size,
        block_q_dq=size, block_kv_dq=size,
    )  # fmt: skip

    def build() -> Callable:
        return splash.make_splash_mha(
            masks.MultiHeadMask([mask] * heads),
            block_sizes=sizes,
            head_shards=1,
            q_seq_shards=1,
            interpret=interpret,
        )

    # The tables of blocks must be constants, and are cached. They are built in another thread,
    # outside the caller's trace and mesh, whose devices may not be on this machine.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()
