"""Convolutions and residual blocks in float32 on CPUs, by XLA custom calls of our own
(convolution.cc).

A residual block is a few products between activations that are read and written again and again:
half of what XLA does there is not multiplication. Here they are read and written once forward and
twice backward. The custom calls are built when jukejax is installed and there is a compiler;
without them, on several devices, in other types, for wide kernels and for few positions `suits`
says no, and XLA's convolutions are to be used.

Letters: B batch, T time, C channels in, D channels out, H hidden channels.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops.cpu import library as compiled
from jukejax.ops.cpu.kernel_gradient import kernel_gradient

_HANDLERS = ("Plain", "Forward", "Hidden", "Input")
LIBRARY = compiled.Library("convolution", "ConvolutionUsable", _HANDLERS)
PLAIN, FORWARD, HIDDEN, INPUT = (LIBRARY.target(name) for name in _HANDLERS)
# A kernel of more entries does not lie in a core's cache beside what it is multiplied with.
_MOST_ENTRIES = 1 << 17
_FEWEST_MULTIPLICATIONS = 1 << 22


def suits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether x [B, T, C] is to meet a kernel [taps, C, D] here."""
    return (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.size <= _MOST_ENTRIES
        and x.size // x.shape[-1] * kernel.size >= _FEWEST_MULTIPLICATIONS
        and compiled.for_one_cpu()
        and LIBRARY.is_usable()
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dilated(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolution that keeps the length, for an odd number of taps. [B, T, C] -> [B, T, D]."""
    result = _like(x, (*x.shape[:-1], kernel.shape[-1]))
    return _call(PLAIN, result, x, kernel, dilation=np.int64(dilation))


def _dilated_forward(x: jax.Array, kernel: jax.Array, dilation: int):
    return dilated(x, kernel, dilation), (x, kernel)


def _dilated_backward(dilation: int, residuals, dy: jax.Array):
    x, kernel = residuals
    taps = kernel.shape[0]
    dkernel = kernel_gradient(x, dy, taps=taps, dilation=dilation)
    return dilated(dy, turned(kernel), dilation), dkernel


dilated.defvjp(_dilated_forward, _dilated_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def residual_block(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    matrix: jax.Array,
    out_bias: jax.Array,
    dilation: int,
    scale: float,
) -> jax.Array:
    """x + scale * (relu(conv(relu(x)) + bias) matrix + out_bias) (Jukebox, section 3.1).

    Args:
      x: [B, T, C].
      kernel, bias: [taps, C, H] and [H], of the dilated convolution.
      matrix, out_bias: [H, C] and [C].

    Returns:
      [B, T, C].
    """
    return _residual_forward(x, kernel, bias, matrix, out_bias, dilation, scale)[0]


def _residual_forward(x, kernel, bias, matrix, out_bias, dilation: int, scale: float):
    hidden, out = _call(
        FORWARD,
        (_like(x, (*x.shape[:-1], bias.size)), _like(x, x.shape)),
        x,
        kernel,
        bias,
        matrix,
        out_bias,
        dilation=np.int64(dilation),
        scale=np.float32(scale),
    )
    return out, (x, hidden, kernel, matrix)


def _residual_backward(dilation: int, scale: float, residuals, dy: jax.Array):
    x, hidden, kernel, matrix = residuals
    shapes = hidden.shape, matrix.shape, x.shape[-1:], hidden.shape[-1:]
    dhidden, dmatrix, dout_bias, dbias = _call(
        HIDDEN,
        [_like(x, shape) for shape in shapes],
        dy,
        hidden,
        matrix.T,
        scale=np.float32(scale),
    )
    dx, dkernel = _call(
        INPUT,
        (_like(x, x.shape), _like(x, kernel.shape)),
        dhidden,
        x,
        dy,
        turned(kernel),
        dilation=np.int64(dilation),
    )
    return dx, dkernel, dbias, scale * dmatrix, scale * dout_bias


residual_block.defvjp(_residual_forward, _residual_backward)


def turned(kernel: jax.Array) -> jax.Array:
    """The kernel [taps, D, C] with which gradients go back through one of [taps, C, D]."""
    return kernel[::-1].swapaxes(1, 2)


def _like(x: jax.Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, x.dtype)


def _call(target: str, results, *operands: jax.Array, **attributes):
    return jax.ffi.ffi_call(target, results, vmap_method="sequential")(*operands, **attributes)
