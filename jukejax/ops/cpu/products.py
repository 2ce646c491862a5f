"""Products of matrices in float32 on CPUs, by an XLA custom call of our own (products.cc).

XLA's own wait for their slowest thread, and are slow where the result has few entries. The custom
call is built when jukejax is installed and there is a compiler; without it, on several devices, in
other types and for small products `suits` says no, and XLA's are to be used.

Letters: N rows, C channels in, D channels out.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jukejax.ops.cpu import library as compiled

LIBRARY = compiled.Library("products", "ProductUsable", ("Product",))
TARGET = LIBRARY.target("Product")
RESULT = "product"  # the name of results, for policies of rematerialisation
# Of fewer XLA's products are as fast or faster.
_FEWEST_ROWS, _FEWEST_MULTIPLICATIONS = 64, 1 << 22


def suits(x: jax.Array, features: int) -> bool:
    """Whether x [N, C] times a matrix with D `features` is to be made by `product`."""
    return (
        x.dtype == jnp.float32
        and x.shape[0] >= _FEWEST_ROWS
        and x.size * features >= _FEWEST_MULTIPLICATIONS
        and compiled.for_one_cpu()
        and LIBRARY.is_usable()
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, matrix: jax.Array, transposed: bool = False) -> jax.Array:
    """x [N, C] times a matrix [C, D], or [D, C] if `transposed`. float32 [N, D]."""
    return _product_forward(x, matrix, transposed)[0]


def _product_forward(x: jax.Array, matrix: jax.Array, transposed: bool):
    (out,) = _call(x, matrix, right_transposed=transposed)
    return checkpoint_name(out, RESULT), (x, matrix)


def _product_backward(transposed: bool, residuals, dy: jax.Array):
    x, matrix = residuals
    left, right = (dy, x) if transposed else (x, dy)
    (dx,) = _call(dy, matrix, right_transposed=not transposed)
    (dmatrix,) = _call(left, right, left_transposed=True)
    return dx, dmatrix


product.defvjp(_product_forward, _product_backward)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), the activation of the released models."""
    return x * jax.nn.sigmoid(1.702 * x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def dense(
    x: jax.Array, matrix: jax.Array, bias: jax.Array, residual: jax.Array | None, gelu: bool
) -> jax.Array:
    """x [N, C] times a matrix [C, D] plus a bias [D], with what follows it, in float32 [N, D].

    Args:
      residual: [N, D] to be added, or None.
      gelu: whether the result becomes its `quick_gelu`; not together with a residual.
    """
    return _dense_forward(x, matrix, bias, residual, gelu)[0]


def _dense_forward(x, matrix, bias, residual, gelu: bool):
    if gelu and residual is not None:
        raise ValueError("a residual is added to what has no activation: give one of the two")
    more = (bias,) if residual is None else (bias, residual)
    found = [checkpoint_name(y, RESULT) for y in _call(x, matrix, *more, gelu=gelu)]
    return found[-1], (x, matrix, found[0] if gelu else None, residual is not None)


def _dense_backward(gelu: bool, residuals, dy: jax.Array):
    x, matrix, before, added = residuals
    dresidual = dy if added else None
    if gelu:
        (dy,) = jax.vjp(quick_gelu, before)[1](dy)
    (dx,) = _call(dy, matrix, right_transposed=True)
    dmatrix, dbias = _call(x, dy, left_transposed=True, with_sums=True)
    return dx, dmatrix, dbias, dresidual


dense.defvjp(_dense_forward, _dense_backward)


def _call(
    left: jax.Array,
    right: jax.Array,
    *more: jax.Array,
    left_transposed: bool = False,
    right_transposed: bool = False,
    gelu: bool = False,
    with_sums: bool = False,
) -> list[jax.Array]:
    """The product, plus `more` (see products.cc); then the activated one, or right's sums [D]."""
    rows = left.shape[1 if left_transposed else 0]
    columns = right.shape[0 if right_transposed else 1]
    shapes = [(rows, columns)] + [(rows, columns)] * gelu + [(columns,)] * with_sums
    results = [jax.ShapeDtypeStruct(shape, left.dtype) for shape in shapes]
    return jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")(
        left,
        right,
        *more,
        left_transposed=left_transposed,
        right_transposed=right_transposed,
        gelu=gelu,
    )
