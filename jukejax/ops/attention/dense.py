"""`jax.nn.dot_product_attention` under our interface: the `dense` backend.

Attention is over the whole sequence (kinds 0, 6 and 7) or over each row or column (kinds 1 to 3).
On GPUs cuDNN's flash kernel can run it, for 16-bit types and heads of up to 128.

NOTE: with `cudnn` kind 7 is not causal inside its keys' length unless queries and keys are equally
many, so it takes XLA's implementation.
"""

import jax

from jukejax.ops.attention import groups as attention_groups
from jukejax.ops.attention.kinds import AttentionKind

KINDS = (
    AttentionKind.DENSE,
    *attention_groups.BY_GRID,
    AttentionKind.ENCODER_DECODER,
    AttentionKind.PRIME,
)
_CUDNN_HEAD = 128


def find_refusal(kind: AttentionKind) -> str | None:
    """Returns why this backend cannot run such a layer; None if it can."""
    return None if kind in KINDS else f"kind {int(kind)} has a mask of its own"


def attend(
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    block_len: int,
    prime_len: int = 0,
    cudnn: bool = False,
) -> jax.Array:
    """Computes attention of kinds 0 to 3, 6 and 7, as `xla.attend`: [B, T, H, D] in q's dtype.

    Args:
      cudnn: use cuDNN where it can.
    """
    groups = attention_groups.split_groups(kind, q, k, v, block_len=block_len, prime_len=prime_len)
    # [B, G, H, Q, D] to [B * G, Q, H, D]
    groups_as_batch = [x.reshape(-1, *x.shape[2:]).swapaxes(1, 2) for x in groups]
    is_16_bit, dim = q.dtype.itemsize == 2, q.shape[-1]
    flash = cudnn and is_16_bit and dim <= _CUDNN_HEAD and dim % 8 == 0
    out = jax.nn.dot_product_attention(
        *groups_as_batch,
        is_causal=attention_groups.is_causal(kind),
        scale=1.0,  # queries and keys are scaled already
        implementation="cudnn" if flash and kind != AttentionKind.PRIME else "xla",
    )
    return attention_groups.merge_groups(kind, out.swapaxes(1, 2).reshape(groups.query.shape))
