"""Matrix products in float32 on CPUs, by an XLA custom call (products.cc).

XLA's products wait for their slowest thread, and are slow if the result has few entries. Without
the custom call (no compiler at installation, several devices, other types, small products) XLA's
are used, over one flat axis of positions: with two axes, XLA's CPU compiler materializes transposed
copies of both operands of the kernel's gradient.

Letters: N rows, C features in, D features out.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jukejax.ops.cpu.kernel_gradient import kernel_gradient
from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu
from jukejax.ops.formulas import add_bias, quick_gelu

LIBRARY = Library("products", "ProductUsable", ("Product",))
TARGET = LIBRARY.target("Product")
Operands = tuple[jax.Array, jax.Array]

RESULT = "product"  # the name of results in rematerialization policies
# With fewer rows or multiplications, XLA's products are as fast or faster.
_FEWEST_ROWS, _FEWEST_MULTIPLICATIONS = 64, 1 << 22


def supports_product(x: jax.Array, features: int) -> bool:
    """Returns true if the custom call supports x [N, C] times a matrix with D `features`."""
    return (
        x.dtype == jnp.float32
        and x.shape[0] >= _FEWEST_ROWS
        and x.size * features >= _FEWEST_MULTIPLICATIONS
        and is_for_one_cpu()
        and LIBRARY.is_usable()
    )


def dense(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    gelu: bool = False,
    residual: jax.Array | None = None,
) -> jax.Array:
    """Computes `ops.dense.dense`: [..., C] to [..., D]."""
    features = kernel.shape[1]
    flat, shape = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], features)
    if supports_product(flat, features):
        flat_residual = None if residual is None else residual.reshape(-1, features)
        return fused_dense(flat, kernel, bias, flat_residual, gelu).reshape(shape)
    return add_bias(jnp.dot(flat, kernel).reshape(shape), bias, gelu=gelu, residual=residual)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x [..., C] times a kernel [C, D]."""
    flat = x.reshape(-1, x.shape[-1])
    multiply = product if supports_product(flat, kernel.shape[1]) else _xla_product
    return multiply(flat, kernel).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _xla_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _xla_product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Operands]:
    return x @ kernel, (x, kernel)


def _xla_product_backward(residuals: Operands, dy: jax.Array) -> Operands:
    x, kernel = residuals
    return dy @ kernel.T, kernel_gradient(x[None], dy[None])[0]


_xla_product.defvjp(_xla_product_forward, _xla_product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, matrix: jax.Array, transposed: bool = False) -> jax.Array:
    """Computes x [N, C] times a matrix [C, D], or [D, C] if `transposed`. float32 [N, D]."""
    return _product_forward(x, matrix, transposed)[0]


def _product_forward(
    x: jax.Array, matrix: jax.Array, transposed: bool
) -> tuple[jax.Array, Operands]:
    (out,) = _call(x, matrix, right_transposed=transposed)
    return checkpoint_name(out, RESULT), (x, matrix)


def _product_backward(transposed: bool, residuals: Operands, dy: jax.Array) -> Operands:
    x, matrix = residuals
    left_operand, right_operand = (dy, x) if transposed else (x, dy)
    (dx,) = _call(dy, matrix, right_transposed=not transposed)
    (dmatrix,) = _call(left_operand, right_operand, left_transposed=True)
    return dx, dmatrix


product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def fused_dense(
    x: jax.Array, matrix: jax.Array, bias: jax.Array, residual: jax.Array | None, gelu: bool
) -> jax.Array:
    """Computes x [N, C] times a matrix [C, D] plus a bias [D], in float32 [N, D], in one call.

    Args:
      residual: [N, D] to be added, or None.
      gelu: whether to apply `quick_gelu`; not together with a residual.
    """
    return _dense_forward(x, matrix, bias, residual, gelu)[0]


def _dense_forward(
    x: jax.Array, matrix: jax.Array, bias: jax.Array, residual: jax.Array | None, gelu: bool
) -> tuple[jax.Array, tuple]:
    if gelu and residual is not None:
        raise ValueError("a residual cannot be combined with gelu: give one of the two")
    addends = (bias,) if residual is None else (bias, residual)
    results = [checkpoint_name(y, RESULT) for y in _call(x, matrix, *addends, gelu=gelu)]
    return results[-1], (x, matrix, results[0] if gelu else None, residual is not None)


def _dense_backward(gelu: bool, residuals: tuple, dy: jax.Array) -> tuple[jax.Array | None, ...]:
    x, matrix, pre_activation, has_residual = residuals
    dresidual = dy if has_residual else None
    if gelu:
        (dy,) = jax.vjp(quick_gelu, pre_activation)[1](dy)
    (dx,) = _call(dy, matrix, right_transposed=True)
    dmatrix, dbias = _call(x, dy, left_transposed=True, with_sums=True)
    return dx, dmatrix, dbias, dresidual


fused_dense.defvjp(_dense_forward, _dense_backward)


def _call(
    left: jax.Array,
    right: jax.Array,
    *addends: jax.Array,
    left_transposed: bool = False,
    right_transposed: bool = False,
    gelu: bool = False,
    with_sums: bool = False,
) -> Sequence[jax.Array]:
    """Calls products.cc.

    Returns:
      The product plus `addends`; then, with `gelu`, its activation, or, with `with_sums`, the sums
      of `right` [D].
    """
    rows = left.shape[1 if left_transposed else 0]
    columns = right.shape[0 if right_transposed else 1]
    shapes = [(rows, columns)] + [(rows, columns)] * gelu + [(columns,)] * with_sums
    results = [jax.ShapeDtypeStruct(shape, left.dtype) for shape in shapes]
    return jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")(
        left,
        right,
        *addends,
        left_transposed=left_transposed,
        right_transposed=right_transposed,
        gelu=gelu,
    )
