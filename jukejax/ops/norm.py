"""Layer normalization with an explicit backward pass.

JAX's derivative would save the normalized input of every layer, in float32.

Letters: E features, of the last axis.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jukejax.ops.cpu import norm as cpu_norm
from jukejax.ops.cpu.switch import is_for_cpu
from jukejax.ops.formulas import NORM_EPSILON, normalize


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Computes layer normalization over the last axis in float32 (Ba et al. 2016, equation 4).

    Args:
      x: [..., E], of any floating type, which is also that of the result.
      scale: [E], float32.
      bias: [E], float32.
    """
    return (cpu_norm.layer_norm if is_for_cpu() else _layer_norm)(x, scale, bias)


@jax.custom_vjp
def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    return normalize(x, scale, bias)[0]


def _backward(
    residuals: tuple[jax.Array, ...], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, mean, inv_std, scale = residuals
    dy = dy.astype(jnp.float32)
    normalized = (x.astype(jnp.float32) - mean) * inv_std
    scaled = dy * scale
    projection = (scaled * normalized).mean(axis=-1, keepdims=True)
    dx = inv_std * (scaled - scaled.mean(axis=-1, keepdims=True) - normalized * projection)
    positions = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (dy * normalized).sum(positions), dy.sum(positions)


_layer_norm.defvjp(normalize, _backward)


def layer_norm_single_pass(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Computes `layer_norm` with both sums in one pass, for single steps of decoding.

    The variance is E[d^2] - E[d]^2 of the differences d to the first feature, so that a large mean
    costs no precision. On CPUs it is `layer_norm` if that is a custom call.
    """
    if cpu_norm.supports_layer_norm(x, scale, bias):
        return cpu_norm.layer_norm(x, scale, bias)
    wide = x.astype(jnp.float32)
    wide = wide - wide[..., :1]
    mean = wide.mean(axis=-1, keepdims=True)
    variance = jnp.maximum((wide * wide).mean(axis=-1, keepdims=True) - mean * mean, 0.0)
    return ((wide - mean) * lax.rsqrt(variance + NORM_EPSILON) * scale + bias).astype(x.dtype)
