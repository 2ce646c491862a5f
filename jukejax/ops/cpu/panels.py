"""Products of a few rows with matrices in panels on CPUs, by an XLA custom call (panels.cc).

XLA's products of a few rows read the matrix several times, or at a fraction of the bandwidth. The
custom call reads it once and in order, on all cores, and a row has the same bits in every batch.

Letters: N rows, I inputs, O outputs, P panels.
"""

import jax
import jax.numpy as jnp

from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu

LIBRARY = Library("panels", "PanelsUsable", ("PanelProduct",))
TARGET = LIBRARY.target("PanelProduct")
WIDTH = 32  # columns of a panel, as in panels.cc
MATRIX_DTYPES = ("float32", "float16", "bfloat16", "int8")
_MOST_ROWS = 512  # with more rows, products.py is faster


def supports_panels(dtype: jnp.dtype) -> bool:
    """Returns true if the custom call can be used for matrices of this type."""
    return jnp.dtype(dtype).name in MATRIX_DTYPES and is_for_one_cpu() and LIBRARY.is_usable()


def supports_dense(x: jax.Array, panels: jax.Array) -> bool:
    """Returns true if the custom call supports x [N, I] times a matrix in panels."""
    return len(x) <= _MOST_ROWS and supports_panels(panels.dtype)


def dense(
    x: jax.Array,
    panels: jax.Array,
    features: int,
    *,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    gelu: bool = False,
    residual: jax.Array | None = None,
) -> jax.Array:
    """Computes `ops.decode_weights.dense_panels` of x [N, I] in float32: [N, O = features]."""
    if gelu and residual is not None:
        raise ValueError("a residual cannot be combined with gelu: give one of the two")
    assert bias is not None or (residual is None and not gelu)
    addends = [y.astype(jnp.float32) for y in (scale, bias, residual) if y is not None]
    result = jax.ShapeDtypeStruct((len(x), features), jnp.float32)
    return jax.ffi.ffi_call(TARGET, result, vmap_method="sequential")(
        x.astype(jnp.float32), panels, *addends, scaled=scale is not None, gelu=gelu
    )
