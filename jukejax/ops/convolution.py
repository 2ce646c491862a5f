"""Convolutions and the residual block of the VQ-VAE, with strided convolutions as products.

Arrays are [batch, time, channels]. Kernels are [taps, in, out]. Letters: B batch, T time, S stride,
C channels in, D channels out, H hidden channels.
"""

import jax
import jax.numpy as jnp

from jukejax.ops.cpu import convolution as cpu_convolution
from jukejax.ops.cpu.switch import is_for_cpu
from jukejax.ops.dense import matmul
from jukejax.ops.formulas import convolve


def conv(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Convolves without a change of length, with an odd number of taps. [B, T, C] -> [B, T, D]."""
    if kernel.shape[0] == 1:
        return matmul(x, kernel[0])
    if is_for_cpu():
        return cpu_convolution.conv(x, kernel, dilation)
    return convolve(x, kernel, dilation)


def residual_block(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    out_kernel: jax.Array,
    out_bias: jax.Array,
    *,
    dilation: int,
    scale: float = 1.0,
) -> jax.Array:
    """Computes x + scale * conv1(relu(conv3(relu(x)))) (Jukebox, section 3.1).

    Args:
      x: [B, T, C].
      kernel: [taps, C, H], of the dilated convolution.
      bias: [H].
      out_kernel: [1, H, C].
      out_bias: [C].
    """
    if is_for_cpu() and cpu_convolution.supports_conv(x, kernel):
        matrix = out_kernel[0]
        return cpu_convolution.residual_block(x, kernel, bias, matrix, out_bias, dilation, scale)
    hidden = conv(jax.nn.relu(x).astype(kernel.dtype), kernel, dilation=dilation)
    hidden = jax.nn.relu(hidden + bias)
    branch = conv(hidden, out_kernel) + out_bias
    return x + (branch if scale == 1.0 else scale * branch)


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with 2S taps, stride S and padding S/2 (S even). [B, T, C] -> [B, T // S, D].

    One matrix product over rows of S samples: each output depends on two neighboring rows, and each
    row is multiplied by both halves of the kernel at once.
    """
    taps, channels, features = kernel.shape
    stride = taps // 2
    rows = x.shape[1] // stride + 1
    x = jnp.pad(x, ((0, 0), (stride // 2, stride // 2), (0, 0)))[:, : rows * stride]
    x = x.reshape(x.shape[0], rows, stride * channels)  # [B, rows, S * C]
    halves = kernel.reshape(2, stride * channels, features).swapaxes(0, 1)
    both = matmul(x, halves.reshape(stride * channels, 2 * features))
    return both[:, :-1, :features] + both[:, 1:, features:]


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Applies a transposed convolution: 2S taps, stride S, padding S/2 (S even).

    [B, T, C] -> [B, T S, D].

    One matrix product: each input row gives 2S output samples, which overlap the next row's by S.
    """
    taps, channels, features = kernel.shape
    batch, length, _ = x.shape
    stride = taps // 2
    halves = kernel.reshape(2, stride, channels, features).transpose(2, 0, 1, 3)
    both = matmul(x, halves.reshape(channels, 2 * stride * features))
    first, second = jnp.split(both, 2, axis=-1)
    rows = jnp.pad(first, ((0, 0), (0, 1), (0, 0))) + jnp.pad(second, ((0, 0), (1, 0), (0, 0)))
    y = rows.reshape(batch, (length + 1) * stride, features)  # [B, T + 1, S * D] -> samples
    return y[:, stride // 2 : stride // 2 + length * stride]
