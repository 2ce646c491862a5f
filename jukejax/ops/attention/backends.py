"""The attention backends under one signature, selected by name or by the device.

    reference  one dense product with an explicit [T, T] mask: the reference of the tests
    xla        reshaped batched products, any device (xla.py)
    dense      jax.nn.dot_product_attention, for whole sequences or rows (dense.py)
    splash     JAX's block-sparse kernel on TPUs (splash.py)
    pallas     our fused kernel on GPUs of compute capability 8.0 or newer (pallas.py)
    native     our compiled kernel on CPUs (ops/cpu/attention.py)
    auto       the fastest in measurements on such a device: native on CPUs where it runs, else xla

Where a backend cannot run a layer on the device, a warning names the reason once, and xla runs.
CONTRIBUTING.md explains how to add one. Attention of a single cached position is in ops/cache.py.
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
from jukejax.ops.attention.kinds import MASKED, AttentionKind, Grid, visible_positions
from jukejax.ops.cpu import attention as cpu_attention
from jukejax.ops.cpu.switch import is_for_one_cpu
from jukejax.ops.logical_axes import target_device

BACKENDS = ("auto", "reference", "xla", "dense", "splash", "pallas", "native")


def attend(
    backend: str,
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    grid: Grid,
    *,
    packed: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Computes attention of every position at once: [B, T, H, D] in q's dtype.

    Args:
      backend: one of BACKENDS.
      kind: selects the positions that each query attends to.
      q: [B, T, H, D]; T is a multiple of the grid's block_len for kinds 1 to 5.
      k: [B, S, H, D]; S is T, or the encoder's length for kind 6.
      v: as k.
      grid: shape of the window; num_rows is not used.
      packed: q, k and v side by side, [B, T, 3, H, D], where one projection computed them: a
        backend that reads them in place needs no copies.
      interpret: run `splash` and `pallas` in interpret mode on any device, for tests.
    """
    shape = dict(block_len=grid.block_len, prime_len=grid.prime_len)
    name = select_backend(backend, kind, q, block_len=grid.block_len, interpret=interpret)
    if name == "reference":
        return _attend_reference(kind, q, k, v, grid)
    if name == "dense":
        cudnn = target_device()[0] == "gpu" and _compute_capability() >= 8.0
        return attention_dense.attend(kind, q, k, v, **shape, cudnn=cudnn)
    if name == "splash":
        return attention_splash.attend(kind, q, k, v, **shape, interpret=interpret)
    if name == "pallas":
        return attention_pallas.attend(kind, q, k, v, block_len=grid.block_len, interpret=interpret)
    if name == "native":
        packed = jnp.stack([q, k, v], axis=2) if packed is None else packed
        return cpu_attention.attend_packed(kind, packed, grid.block_len)
    if name != "xla":
        raise ValueError(f"attention backend {name!r} has no branch in `attend`")
    return attention_xla.attend(kind, q, k, v, grid=grid)


def select_backend(
    backend: str, kind: AttentionKind, q: jax.Array, *, block_len: int, interpret: bool = False
) -> str:
    """Returns the backend that runs a layer with queries like q [B, T, H, D].

    Warns once if it is not the requested backend.
    """
    if backend == "auto":  # NOTE: no kernel for GPUs or TPUs was measured to be faster yet
        return "xla" if find_refusal("native", kind, q, block_len=block_len) else "native"
    reason = find_refusal(backend, kind, q, block_len=block_len, interpret=interpret)
    if reason:
        _warn_once(f"attention backend {backend!r} cannot run here: {reason}; xla runs instead")
        return "xla"
    return backend


def find_refusal(
    backend: str, kind: AttentionKind, q: jax.Array, *, block_len: int, interpret: bool = False
) -> str | None:
    """Returns why a backend cannot run a layer on the target device; None if it can."""
    if backend not in BACKENDS:
        raise ValueError(f"attention is {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "reference" and kind in _WITH_ZERO_SLOTS:
        return f"kind {int(kind)} has keys that are no positions of its sequence"
    if backend == "dense":
        return attention_dense.find_refusal(kind)
    if backend not in ("splash", "pallas", "native"):
        return None
    if backend == "native":
        platform, name = target_device()
        if platform != "cpu":
            return f"it is for CPUs, and this is {name}"
        if not is_for_one_cpu():
            return "it runs on one device with CPU kernels on, and this is not"
        shape = dict(seq_len=q.shape[1], block_len=block_len, head_dim=q.shape[-1])
        return cpu_attention.find_refusal(kind, **shape, dtype=q.dtype)
    reason = None if interpret else _find_device_refusal(backend, q.dtype)
    if reason:
        return reason
    if backend == "splash":
        return attention_splash.find_refusal(kind, seq_len=q.shape[1])
    rows = q.shape[1] // block_len
    return attention_pallas.find_refusal(kind, rows=rows, block_len=block_len, head_dim=q.shape[-1])


def _find_device_refusal(backend: str, dtype: jnp.dtype) -> str | None:
    """Returns why `splash` or `pallas` cannot run on the target device; None if it can."""
    mesh, (platform, name) = jax.sharding.get_abstract_mesh(), target_device()
    required = "tpu" if backend == "splash" else "gpu"
    if platform != required:
        return f"it is for {required.upper()}s, and this is {name}"
    if backend == "pallas" and _compute_capability() < 8.0:
        return f"it needs compute capability 8.0, and {name} has {_compute_capability():.1f}"
    if backend == "pallas" and dtype == jnp.float32:
        return "it is for float16 and bfloat16, and this is float32"
    if not mesh.empty and mesh.size > 1:
        return f"it runs on one device, and the mesh has {mesh.size}"
    return None


# -- The device --------------------------------------------------------------------------------


# Compute capability of GPUs that are too old for the kernels, by name.
_OLD_GPUS = {"V100": 7.0, "T4": 7.5, "RTX 20": 7.5, "P100": 6.0, "P40": 6.1, "P4": 6.1, "K80": 3.7}


def _compute_capability() -> float:
    """Looks up the GPU's compute capability by its name: an abstract device has no other facts."""
    name = target_device()[1]
    return next((value for word, value in _OLD_GPUS.items() if re.search(rf"\b{word}", name)), 8.0)


@functools.cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=3)


# -- The reference -----------------------------------------------------------------------------

_WITH_ZERO_SLOTS = (
    AttentionKind.SUMMARY,
    AttentionKind.SUMMARY_SPREAD,
    AttentionKind.ENCODER_DECODER,
)


def _attend_reference(
    kind: AttentionKind, q: jax.Array, k: jax.Array, v: jax.Array, grid: Grid
) -> jax.Array:
    """Computes softmax(q k / sqrt(D)) v with the kind's mask; 0 for queries without a key."""
    mask = visible_positions(kind, q.shape[1], grid)
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores * q.shape[-1] ** -0.5, MASKED)
    probs = jnp.where(mask.any(axis=-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0.0)
    return jnp.einsum("bhts,bshd->bthd", probs.astype(v.dtype), v)
