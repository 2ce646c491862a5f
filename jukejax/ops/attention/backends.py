"""Which of the ways to attend runs: one signature, chosen by name or by the device.

    reference  one dense product under an explicit [T, T] mask: what the others are tested against
    xla        reshaped batched products, any device (attention_xla)
    dense      jax.nn.dot_product_attention, for whole sequences or rows (attention_dense)
    splash     JAX's block-sparse kernel on TPUs (attention_splash)
    pallas     our fused kernel on GPUs of compute capability 8.0 or newer (attention_pallas)
    native     our compiled kernel on CPUs (attention_native)
    auto       the fastest that was measured on such a device: native on CPUs where it runs; xla
               where nobody has measured

A backend that cannot run a layer on this device says why, once, and xla runs it.
"""

import functools
import re
import warnings

import jax
import jax.numpy as jnp

from jukejax.ops.attention import dense as attention_dense
from jukejax.ops.attention import pallas as attention_pallas
from jukejax.ops.attention import splash as attention_splash
from jukejax.ops.attention import xla as attention_xla
from jukejax.ops.attention.kinds import AttentionKind, visible_positions
from jukejax.ops.cpu import attention as attention_native
from jukejax.ops.cpu import library as compiled

BACKENDS = ("auto", "reference", "xla", "dense", "splash", "pallas", "native")


def attend(
    backend: str,
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    block_len: int,
    spread: int = 1,
    prime_len: int = 0,
    interpret: bool = False,
) -> jax.Array:
    """Attention of every position at once: [B, T, H, D] in q's dtype.

    Args:
      backend: one of BACKENDS.
      kind: what each query may see.
      q: [B, T, H, D]; T is a multiple of block_len for kinds 1 to 5.
      k: [B, S, H, D]; S is T, or the encoder's length for kind 6.
      v: as k.
      block_len: columns of the grid.
      spread: positions a row leaves behind, kind 5.
      prime_len: positions that kind 7 may see.
      interpret: run `splash` and `pallas` step by step on any device, for tests.
    """
    shape = dict(block_len=block_len, prime_len=prime_len)
    name = chosen(backend, kind, q, block_len=block_len, interpret=interpret)
    if name == "reference":
        return _reference(kind, q, k, v, spread=spread, **shape)
    if name == "dense":
        gpu = compiled.target_device()[0] == "gpu"
        return attention_dense.attend(kind, q, k, v, **shape, cudnn=gpu and _capability() >= 8.0)
    if name == "splash":
        return attention_splash.attend(kind, q, k, v, **shape, interpret=interpret)
    if name == "pallas":
        return attention_pallas.attend(kind, q, k, v, block_len=block_len, interpret=interpret)
    if name == "native":
        return attention_native.attend(kind, q, k, v, block_len=block_len)
    return attention_xla.attend(kind, q, k, v, **shape, spread=spread)


def chosen(
    backend: str, kind: AttentionKind, q: jax.Array, *, block_len: int, interpret: bool = False
) -> str:
    """The backend that runs a layer with queries like q [B, T, H, D]: `backend`, or what takes its
    place, which is said once."""
    if backend == "auto":  # NOTE: no kernel for GPUs or TPUs was measured to be faster yet
        return "xla" if refusal("native", kind, q, block_len=block_len) else "native"
    reason = refusal(backend, kind, q, block_len=block_len, interpret=interpret)
    if reason:
        _say(f"attention backend {backend!r} cannot run here: {reason}; xla runs instead")
        return "xla"
    return backend


def refusal(
    backend: str, kind: AttentionKind, q: jax.Array, *, block_len: int, interpret: bool = False
) -> str | None:
    """Why a backend cannot run a layer on the device that is compiled for; None if it can."""
    if backend not in BACKENDS:
        raise ValueError(f"attention is {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "reference" and kind in _ZERO_SLOTS:
        return f"kind {int(kind)} has keys that are no positions of its sequence"
    if backend == "dense":
        return attention_dense.refusal(kind)
    if backend not in ("splash", "pallas", "native"):
        return None
    mesh, (platform, name) = jax.sharding.get_abstract_mesh(), compiled.target_device()
    if backend == "native":
        if platform != "cpu":
            return f"it is for CPUs, and this is {name}"
        if not compiled.for_one_cpu():
            return "it runs on one device, and this is for several or for other machines"
        shape = dict(seq_len=q.shape[1], block_len=block_len, head_dim=q.shape[-1])
        return attention_native.refusal(kind, **shape, dtype=q.dtype)
    if not interpret:
        wanted = "tpu" if backend == "splash" else "gpu"
        if platform != wanted:
            return f"it is for {wanted.upper()}s, and this is {name}"
        if backend == "pallas" and _capability() < 8.0:
            return f"it needs compute capability 8.0, and {name} has {_capability():.1f}"
        if backend == "pallas" and q.dtype == jnp.float32:
            return "it is for float16 and bfloat16, and this is float32"
        if not mesh.empty and mesh.size > 1:
            return f"it runs on one device, and the mesh has {mesh.size}"
    if backend == "splash":
        return attention_splash.refusal(kind, seq_len=q.shape[1])
    rows = q.shape[1] // block_len
    return attention_pallas.refusal(kind, rows=rows, block_len=block_len, head_dim=q.shape[-1])


# -- The device --------------------------------------------------------------------------------


# Of GPUs that are older than the kernels; what is not named here is new enough.
_OLD = {"V100": 7.0, "T4": 7.5, "RTX 20": 7.5, "P100": 6.0, "P40": 6.1, "P4": 6.1, "K80": 3.7}


def _capability() -> float:
    """Compute capability of the GPU by its name; a described device tells no more."""
    name = compiled.target_device()[1]
    return next((value for part, value in _OLD.items() if re.search(rf"\b{part}", name)), 8.0)


@functools.cache
def _say(text: str) -> None:
    warnings.warn(text, stacklevel=3)


# -- The reference -----------------------------------------------------------------------------

_ZERO_SLOTS = (
    AttentionKind.SUMMARY,
    AttentionKind.SUMMARY_SPREAD,
    AttentionKind.ENCODER_DECODER,
)


def _reference(kind, q, k, v, *, block_len, spread, prime_len):
    """softmax(q k / sqrt(D)) v under the mask that defines the kind; what sees nothing is zero."""
    mask = visible_positions(
        kind, q.shape[1], block_len=block_len, spread=spread, prime_len=prime_len
    )
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores * q.shape[-1] ** -0.5, -1e30)
    probs = jnp.where(mask.any(axis=-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0.0)
    return jnp.einsum("bhts,bshd->bthd", probs.astype(v.dtype), v)
