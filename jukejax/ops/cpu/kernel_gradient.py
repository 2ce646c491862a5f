"""The gradient of a convolution's kernel, whose few entries are sums over all positions.

XLA's products are slow at this shape on CPUs: they took half of a VQ-VAE's training step. The XLA
custom call kernel_gradient.cc is built when jukejax is installed if there is a compiler; without
it, on several devices and for wide kernels, XLA's products are used.

Letters: B batch, T time, C channels in, D channels out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu

LIBRARY = Library("kernel_gradient", "KernelGradientUsable", ("Sums",))
TARGET = LIBRARY.target("Sums")
# Largest number of entries a tap for the custom call. GFLOP/s of the call and of XLA's product on
# two cores: 172 and 53 for 64 x 64 entries of 32,768 summands; 142 to 189 and 141 to 145 for
# 256 x 256 of 4,096; 163 and 185 for 512 x 512 of 8,192.
FEW = 256 * 256


def kernel_gradient(x: jax.Array, dy: jax.Array, *, taps: int = 1, dilation: int = 1) -> jax.Array:
    """Computes sums over b and t of x[b, t + (k - taps // 2) * dilation, c] * dy[b, t, d].

    Args:
      x: [B, T, C], zero outside of its window.
      dy: [B, T, D], of x's type.
      taps: odd.

    Returns:
      [taps, C, D], of x's type.
    """
    has_few_entries = x.shape[-1] * dy.shape[-1] <= FEW
    if has_few_entries and x.dtype == jnp.float32 and is_for_one_cpu() and LIBRARY.is_usable():
        shape = jax.ShapeDtypeStruct((taps, x.shape[-1], dy.shape[-1]), x.dtype)
        call = jax.ffi.ffi_call(TARGET, shape, vmap_method="sequential")
        return call(x, dy, taps=np.int64(taps), dilation=np.int64(dilation))
    return multiply_shifted_copies(x, dy, taps=taps, dilation=dilation)


def multiply_shifted_copies(x: jax.Array, dy: jax.Array, *, taps: int, dilation: int) -> jax.Array:
    """Computes `kernel_gradient` as one product of XLA's with shifted copies of the gradient."""
    features = dy.shape[-1]

    def column(tap: int) -> jax.Array:
        shift = dilation * (tap - taps // 2)
        widths = (tap * features, (taps - 1 - tap) * features, 0)
        return lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), (shift, -shift, 0), widths))

    # NOTE: the columns are padded and added in one fusion, materialized by the barrier. A
    # concatenation would write each column first: 6.8 ms instead of 3.1 for 32,768 positions and 64
    # features.
    columns = lax.optimization_barrier(sum(map(column, range(taps))))
    product = x.reshape(-1, x.shape[-1]).T @ columns.reshape(-1, taps * features)
    return product.reshape(-1, taps, features).swapaxes(0, 1)
