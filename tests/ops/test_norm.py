"""ops/norm.py: the explicit gradients of layer normalization against JAX's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import norm
from jukejax.ops.formulas import NORM_EPSILON, normalize


def reference_norm(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + NORM_EPSILON) * scale + bias


def normal_inputs(shape, dtype=jnp.float32):
    """Returns x, scale, bias and dy."""
    normal = np.random.default_rng(0).normal
    x, dy = (np.asarray(3 + 2 * normal(size=shape), dtype) for _ in range(2))
    scale, bias = (np.asarray(1 + normal(size=shape[-1:]), np.float32) for _ in range(2))
    return x, scale, bias, dy


@functools.partial(jax.jit, static_argnums=0)
def differentiate(function, dy, *inputs):
    """Returns (output, gradients)."""
    out, vjp = jax.vjp(function, *inputs)
    return out, vjp(dy)


@pytest.mark.parametrize("shape", [(2, 5, 32), (7, 48)])
def test_gradients_are_those_of_the_formula(shape):
    x, scale, bias, dy = normal_inputs(shape)
    expected, expected_grads = differentiate(reference_norm, dy, x, scale, bias)
    out, grads = differentiate(norm.layer_norm, dy, x, scale, bias)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-5, atol=2e-5)


def test_gradients_have_the_types_of_their_arguments():
    x, scale, bias, dy = normal_inputs((2, 5, 32), jnp.bfloat16)
    out, (dx, dscale, dbias) = differentiate(norm.layer_norm, dy, x, scale, bias)
    assert out.dtype == dx.dtype == jnp.bfloat16
    assert dscale.dtype == dbias.dtype == jnp.float32
    wide_x, wide_dy = (np.asarray(part, np.float32) for part in (x, dy))
    _, wide = differentiate(reference_norm, wide_dy, wide_x, scale, bias)
    np.testing.assert_allclose(np.asarray(dx, np.float32), wide[0], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(dscale, wide[1], rtol=1e-4, atol=1e-4)


def test_the_backward_pass_saves_no_normalized_copy():
    """Beside the arguments only the statistics of each position."""
    x, scale, bias, _ = normal_inputs((4, 16, 64), jnp.bfloat16)
    _, residuals = normalize(x, scale, bias)
    saved = sum(leaf.nbytes for leaf in residuals if leaf is not x and leaf is not scale)
    assert saved == 2 * 4 * 16 * 4  # two float32 numbers a position


def test_the_form_for_single_steps_equals_the_formula():
    x, scale, bias, _ = normal_inputs((7, 48))
    np.testing.assert_allclose(
        jax.jit(norm.layer_norm_single_pass)(x + 1000, scale, bias),
        jax.jit(reference_norm)(x, scale, bias),
        rtol=1e-3,
        atol=1e-3,
    )
