"""Convolutions with the gradients that are fast where they run, and strided ones as products.

Arrays are [batch, time, channels]. Kernels are [taps, in, out]. Letters: B batch, T time, S stride,
C channels in, D channels out.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jukejax.ops.cpu import convolution, products
from jukejax.ops.cpu.kernel_gradient import kernel_gradient

DIMENSIONS = ("NWC", "WIO", "NWC")


def conv(x: jax.Array, kernel: jax.Array, *, dilation: int = 1) -> jax.Array:
    """Convolution that keeps the length, for an odd number of taps. [B, T, C] -> [B, T, D]."""
    if kernel.shape[0] == 1:
        return _product(x, kernel[0])
    if convolution.suits(x, kernel):
        return convolution.dilated(x, kernel, dilation)
    return _dilated_conv(x, kernel, dilation)


def _product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[B, T, C] times [C, D]. As one flat product, so that the gradient is one too: with two
    summed axes XLA transposes whole activations on a CPU."""
    flat = x.reshape(-1, x.shape[-1])
    multiply = products.product if products.suits(flat, matrix.shape[1]) else _flat_product
    return multiply(flat, matrix).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _flat_product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    return x @ matrix


def _flat_product_forward(x: jax.Array, matrix: jax.Array):
    return x @ matrix, (x, matrix)


def _flat_product_backward(residuals, dy: jax.Array):
    x, matrix = residuals

    def default(x, dy):
        return x.T @ dy

    def ours(x, dy):
        return kernel_gradient(x[None], dy[None])[0]

    return dy @ matrix.T, lax.platform_dependent(x, dy, cpu=ours, default=default)


_flat_product.defvjp(_flat_product_forward, _flat_product_backward)


def plain_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """`conv` by XLA, with XLA's gradients."""
    pad = dilation * (kernel.shape[0] // 2)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=[(pad, pad)],
        rhs_dilation=(dilation,),
        dimension_numbers=DIMENSIONS,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dilated_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return plain_conv(x, kernel, dilation)


def _dilated_conv_forward(x: jax.Array, kernel: jax.Array, dilation: int):
    return plain_conv(x, kernel, dilation), (x, kernel)


def _dilated_conv_backward(dilation: int, residuals, dy: jax.Array):
    """The gradient to the input is the same convolution with the kernel turned round. That to the
    kernel is XLA's on accelerators; on CPUs, where it would cost more than all the rest, ours."""
    x, kernel = residuals
    dx = plain_conv(dy, convolution.turned(kernel), dilation)

    def transposed(x, dy):
        return jax.vjp(lambda k: plain_conv(x, k, dilation), kernel)[1](dy)[0]

    products = functools.partial(kernel_gradient, taps=kernel.shape[0], dilation=dilation)
    return dx, lax.platform_dependent(x, dy, cpu=products, default=transposed)


_dilated_conv.defvjp(_dilated_conv_forward, _dilated_conv_backward)


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of 2S taps, stride S, padding S/2 (S even). [B, T, C] -> [B, T // S, D].

    Written as one matrix product over rows of S samples, which is what it is: each output sees two
    neighbouring rows, and each row is multiplied by both halves of the kernel at once.
    """
    taps, channels, features = kernel.shape
    stride = taps // 2
    rows = x.shape[1] // stride + 1
    x = jnp.pad(x, ((0, 0), (stride // 2, stride // 2), (0, 0)))[:, : rows * stride]
    x = x.reshape(x.shape[0], rows, stride * channels)  # [B, rows, S * C]
    halves = kernel.reshape(2, stride * channels, features).swapaxes(0, 1)
    both = _product(x, halves.reshape(stride * channels, 2 * features))
    return both[:, :-1, :features] + both[:, 1:, features:]


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of 2S taps, stride S, padding S/2 (S even). [B, T, C] -> [B, T S, D].

    Each input row gives 2S output samples, which overlap the next row's by S: one matrix product.
    """
    taps, channels, features = kernel.shape
    batch, length, _ = x.shape
    stride = taps // 2
    halves = kernel.reshape(2, stride, channels, features).transpose(2, 0, 1, 3)
    both = _product(x, halves.reshape(channels, 2 * stride * features))
    first, second = jnp.split(both, 2, axis=-1)
    rows = jnp.pad(first, ((0, 0), (0, 1), (0, 0))) + jnp.pad(second, ((0, 0), (1, 0), (0, 0)))
    y = rows.reshape(batch, (length + 1) * stride, features)  # [B, T + 1, S * D] -> samples
    return y[:, stride // 2 : stride // 2 + length * stride]
