"""`jax.nn.dot_product_attention` under our interface: the `dense` backend.

The sequence attends to itself as a whole (kinds 0, 6 and 7), or each row or column does (kinds 1 to
3). On GPUs JAX hands it to cuDNN's flash kernel if asked to, for halves and heads of up to 128.

NOTE: with `cudnn` kind 7 is not causal inside its keys' length unless queries and keys are equally
many, so it takes XLA's implementation.
"""

import jax

from jukejax.ops.attention import groups as attention_rows
from jukejax.ops.attention.kinds import AttentionKind

KINDS = (
    AttentionKind.DENSE,
    *attention_rows.BY_GRID,
    AttentionKind.ENCODER_DECODER,
    AttentionKind.PRIME,
)
_CUDNN_HEAD = 128


def refusal(kind: AttentionKind) -> str | None:
    """Why this backend cannot run such a layer; None if it can."""
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
    """Kinds 0 to 3, 6 and 7, as `attention_xla.attend`: [B, T, H, D] in q's dtype.

    Args:
      cudnn: use cuDNN where it can.
    """
    groups = attention_rows.apart(kind, q, k, v, block_len=block_len, prime_len=prime_len)
    # [B, G, H, Q, D] to [B * G, Q, H, D]
    given = [x.reshape(-1, *x.shape[2:]).swapaxes(1, 2) for x in groups]
    halves, dim = q.dtype.itemsize == 2, q.shape[-1]
    flash = cudnn and halves and dim <= _CUDNN_HEAD and dim % 8 == 0
    out = jax.nn.dot_product_attention(
        *given,
        is_causal=attention_rows.is_causal(kind),
        scale=1.0,  # queries and keys are scaled already
        implementation="cudnn" if flash and kind != AttentionKind.PRIME else "xla",
    )
    return attention_rows.together(kind, out.swapaxes(1, 2).reshape(groups.query.shape))
