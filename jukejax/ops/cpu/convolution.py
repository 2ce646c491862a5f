"""Convolutions and residual blocks on CPUs, by XLA custom calls (convolution.cc).

A residual block consists of a few products between activations that XLA reads and writes
repeatedly: half of its time there is not multiplication. The custom call reads and writes the
activations once in the forward and twice in the backward pass, in float32. Without it (no compiler
at installation, several devices, other types, wide kernels, few positions) `conv` is XLA's, with
the kernel gradient of `kernel_gradient`.

Letters: B batch, T time, C channels in, D channels out, H hidden channels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.ops.cpu.kernel_gradient import kernel_gradient
from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu
from jukejax.ops.formulas import convolve

_HANDLERS = ("Plain", "Forward", "Hidden", "Input")
LIBRARY = Library("convolution", "ConvolutionUsable", _HANDLERS)
PLAIN, FORWARD, HIDDEN, INPUT = (LIBRARY.target(name) for name in _HANDLERS)
Operands = tuple[jax.Array, jax.Array]

# A kernel of more entries does not fit into a core's cache together with the other operand.
_MOST_ENTRIES = 1 << 17
_FEWEST_MULTIPLICATIONS = 1 << 22


def supports_conv(x: jax.Array, kernel: jax.Array) -> bool:
    """Returns true if the custom calls support x [B, T, C] with a kernel [taps, C, D]."""
    return (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.size <= _MOST_ENTRIES
        and x.size // x.shape[-1] * kernel.size >= _FEWEST_MULTIPLICATIONS
        and is_for_one_cpu()
        and LIBRARY.is_usable()
    )


def conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Computes `ops.convolution.conv`: [B, T, C] to [B, T, D]."""
    return (dilated if supports_conv(x, kernel) else _xla_conv)(x, kernel, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _xla_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    return convolve(x, kernel, dilation)


def _xla_conv_forward(x: jax.Array, kernel: jax.Array, dilation: int) -> tuple[jax.Array, Operands]:
    return convolve(x, kernel, dilation), (x, kernel)


def _xla_conv_backward(dilation: int, residuals: Operands, dy: jax.Array) -> Operands:
    """Computes the gradients; on a CPU XLA's gradient of the kernel would take most of the time."""
    x, kernel = residuals
    dkernel = kernel_gradient(x, dy, taps=kernel.shape[0], dilation=dilation)
    return convolve(dy, transpose_kernel(kernel), dilation), dkernel


_xla_conv.defvjp(_xla_conv_forward, _xla_conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dilated(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves without a change of length, with an odd number of taps. [B, T, C] -> [B, T, D]."""
    result = _like(x, (*x.shape[:-1], kernel.shape[-1]))
    return _call(PLAIN, result, x, kernel, dilation=np.int64(dilation))


def _dilated_forward(x: jax.Array, kernel: jax.Array, dilation: int) -> tuple[jax.Array, Operands]:
    return dilated(x, kernel, dilation), (x, kernel)


def _dilated_backward(dilation: int, residuals: Operands, dy: jax.Array) -> Operands:
    x, kernel = residuals
    taps = kernel.shape[0]
    dkernel = kernel_gradient(x, dy, taps=taps, dilation=dilation)
    return dilated(dy, transpose_kernel(kernel), dilation), dkernel


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
    """Computes `ops.convolution.residual_block` in one call.

    Args:
      x: [B, T, C].
      kernel, bias: [taps, C, H] and [H], of the dilated convolution.
      matrix, out_bias: [H, C] and [C].

    Returns:
      [B, T, C].
    """
    return _residual_forward(x, kernel, bias, matrix, out_bias, dilation, scale)[0]


def _residual_forward(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    matrix: jax.Array,
    out_bias: jax.Array,
    dilation: int,
    scale: float,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
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


def _residual_backward(
    dilation: int, scale: float, residuals: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, ...]:
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
        transpose_kernel(kernel),
        dilation=np.int64(dilation),
    )
    return dx, dkernel, dbias, scale * dmatrix, scale * dout_bias


residual_block.defvjp(_residual_forward, _residual_backward)


def transpose_kernel(kernel: jax.Array) -> jax.Array:
    """Returns the kernel [taps, D, C] of the input's gradient for a kernel [taps, C, D]."""
    return kernel[::-1].swapaxes(1, 2)


def _like(x: jax.Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, x.dtype)


def _call(target: str, results: Tree, *operands: jax.Array, **attributes: np.generic) -> Any:
    return jax.ffi.ffi_call(target, results, vmap_method="sequential")(*operands, **attributes)
