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

from jukejax.ops import compiled

TARGET = compiled.target("products", "Product")
RESULT = "product"  # the name of results, for policies of rematerialisation
# Of fewer XLA's products are as fast or faster.
_FEWEST_ROWS, _FEWEST_MULTIPLICATIONS = 64, 1 << 22


def usable() -> bool:
    """Whether the custom call was built and runs on this processor."""
    return compiled.load("products", "ProductUsable", ("Product",))


def suits(x: jax.Array, features: int) -> bool:
    """Whether x [N, C] times a matrix with D `features` is to be made by `product`."""
    return (
        x.dtype == jnp.float32
        and x.shape[0] >= _FEWEST_ROWS
        and x.size * features >= _FEWEST_MULTIPLICATIONS
        and compiled.for_one_cpu()
        and usable()
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, matrix: jax.Array, transposed: bool = False) -> jax.Array:
    """x [N, C] times a matrix [C, D], or [D, C] if `transposed`. float32 [N, D]."""
    return _forward(x, matrix, transposed)[0]


def _forward(x: jax.Array, matrix: jax.Array, transposed: bool):
    out = checkpoint_name(_call(x, matrix, right_transposed=transposed), RESULT)
    return out, (x, matrix)


def _backward(transposed: bool, residuals, dy: jax.Array):
    x, matrix = residuals
    left, right = (dy, x) if transposed else (x, dy)
    dx = _call(dy, matrix, right_transposed=not transposed)
    return dx, _call(left, right, left_transposed=True)


product.defvjp(_forward, _backward)


def _call(
    left: jax.Array,
    right: jax.Array,
    *,
    left_transposed: bool = False,
    right_transposed: bool = False,
) -> jax.Array:
    rows = left.shape[1 if left_transposed else 0]
    columns = right.shape[0 if right_transposed else 1]

    shape = jax.ShapeDtypeStruct((rows, columns), left.dtype)
    call = jax.ffi.ffi_call(TARGET, shape, vmap_method="sequential")
    return call(left, right, left_transposed=left_transposed, right_transposed=right_transposed)
