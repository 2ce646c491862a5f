"""Plain formulas that the operations of `ops/` share with their forms for CPUs in `ops/cpu/`.

Letters: B batch, T time, C features in, D features out, E features that are normalized.
"""

import jax
import jax.numpy as jnp
from jax import lax

NORM_EPSILON = 1e-5


def quick_gelu(x: jax.Array) -> jax.Array:
    """Computes x * sigmoid(1.702 x), the activation of the released models."""
    return x * jax.nn.sigmoid(1.702 * x)


def add_bias(
    product: jax.Array, bias: jax.Array, *, gelu: bool, residual: jax.Array | None
) -> jax.Array:
    """Adds a bias [D] to [..., D], applies `quick_gelu` if `gelu`, and adds a residual [..., D]."""
    out = product + bias
    if gelu:
        out = quick_gelu(out)
    return out if residual is None else residual + out


def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Computes layer normalization of [..., E] in float32 (Ba et al. 2016, equation 4).

    Returns:
      The result in x's type, and its residuals (x, mean, 1 / standard deviation, scale).
    """
    wide = x.astype(jnp.float32)
    mean = wide.mean(axis=-1, keepdims=True)
    centered = wide - mean
    inv_std = lax.rsqrt((centered * centered).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    out = (centered * inv_std * scale + bias).astype(x.dtype)
    return out, (x, mean, inv_std, scale)


def convolve(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves [B, T, C] with a kernel [odd taps, C, D] without a change of length. [B, T, D]."""
    pad = dilation * (kernel.shape[0] // 2)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(pad, pad)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
