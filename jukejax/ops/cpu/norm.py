"""Layer normalization on CPUs, by an XLA custom call (norm.cc) or XLA's products.

Letters: E features, of the last axis.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.common.types import Tree
from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu
from jukejax.ops.formulas import NORM_EPSILON, normalize

LIBRARY = Library("norm", "NormUsable", ("Forward", "Backward"))
_UNIT = 16  # the custom call needs a multiple of so many features


def supports_layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> bool:
    """Returns true if the custom call supports x [..., E] with scale and bias [E]."""
    return (
        x.dtype == scale.dtype == bias.dtype == jnp.float32
        and x.shape[-1] % _UNIT == 0
        and is_for_one_cpu()
        and LIBRARY.is_usable()
    )


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Computes `ops.norm.layer_norm` of [..., E] with scale and bias [E]."""
    supported = supports_layer_norm(x, scale, bias)
    return (_layer_norm_by_call if supported else _layer_norm)(x, scale, bias)


@jax.custom_vjp
def _layer_norm_by_call(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    return _call_forward(x, scale, bias)[0]


def _call_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    flat = x.reshape(-1, x.shape[-1])
    out = _custom_call("Forward", jax.ShapeDtypeStruct(flat.shape, x.dtype))(flat, scale, bias)
    return out.reshape(x.shape), (x, scale)


def _call_backward(
    residuals: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale = residuals
    rows = jax.ShapeDtypeStruct((x.size // len(scale), len(scale)), x.dtype)
    sums = jax.ShapeDtypeStruct(scale.shape, x.dtype)
    backward = _custom_call("Backward", (rows, sums, sums))
    dx, dscale, dbias = backward(x.reshape(rows.shape), scale, dy.reshape(rows.shape))
    return dx.reshape(x.shape), dscale, dbias


_layer_norm_by_call.defvjp(_call_forward, _call_backward)


def _custom_call(handler: str, results: Tree) -> Callable:
    call = jax.ffi.ffi_call(LIBRARY.target(handler), results, vmap_method="sequential")
    return functools.partial(call, epsilon=np.float32(NORM_EPSILON))


@jax.custom_vjp
def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    return normalize(x, scale, bias)[0]


def _backward_by_products(
    residuals: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the gradients, with the sums over features as products with `scale`.

    Time on two cores, forward and backward, against JAX's derivative: 1.4 ms and 3.6 ms for
    4 x 1,024 positions of 256 features, 14 ms and 48 ms for 8,192 of 512. The barrier materializes
    a product that is used twice.
    """
    x, mean, inv_std, scale = residuals
    dy = dy.astype(jnp.float32)
    normalized = (x.astype(jnp.float32) - mean) * inv_std
    product = lax.optimization_barrier(dy * normalized)
    weights = scale[:, None] / x.shape[-1]
    dx = inv_std * (dy * scale - dy @ weights - normalized * (product @ weights))
    positions = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), product.sum(positions), dy.sum(positions)


_layer_norm.defvjp(normalize, _backward_by_products)
