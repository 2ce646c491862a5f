"""ops/norm.py: the written-out gradients of layer normalisation against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import norm


def plain(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + norm.EPSILON) * scale + bias


def given(shape, dtype=jnp.float32):
    draw = np.random.default_rng(0).normal
    x, dy = (jnp.asarray(3 + 2 * draw(size=shape), dtype) for _ in range(2))
    scale, bias = (jnp.asarray(1 + draw(size=shape[-1:]), jnp.float32) for _ in range(2))
    return x, scale, bias, dy


@pytest.mark.parametrize("gradients", [norm._by_sums, norm._by_products])
@pytest.mark.parametrize("shape", [(2, 5, 32), (7, 48)])
def test_gradients_are_those_of_the_formula(gradients, shape):
    x, scale, bias, dy = given(shape)
    expected, back = jax.vjp(plain, x, scale, bias)
    out, residuals = norm._normalised(x, scale, bias)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for found, right in zip(gradients(*residuals, dy), back(dy), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=2e-5)


def test_gradients_reach_arguments_in_their_own_types():
    x, scale, bias, dy = given((2, 5, 32), jnp.bfloat16)
    out, back = jax.vjp(norm.layer_norm, x, scale, bias)
    dx, dscale, dbias = back(dy)
    assert out.dtype == dx.dtype == jnp.bfloat16
    assert dscale.dtype == dbias.dtype == jnp.float32
    wide = jax.vjp(plain, x.astype(jnp.float32), scale, bias)[1](dy.astype(jnp.float32))
    np.testing.assert_allclose(dx.astype(jnp.float32), wide[0], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(dscale, wide[1], rtol=1e-4, atol=1e-4)


def test_the_backward_pass_keeps_no_normalised_copy():
    """Beside the statistics of each position only what was given."""
    x, scale, bias, _ = given((4, 16, 64), jnp.bfloat16)
    _, residuals = norm._normalised(x, scale, bias)
    kept = sum(leaf.nbytes for leaf in residuals if leaf is not x and leaf is not scale)
    assert kept == 2 * 4 * 16 * 4  # two float32 numbers a position


@pytest.mark.parametrize("shape", [(2, 500, 48), (3, 16), (1, 40, 1920)])
def test_the_compiled_form_is_the_formula(shape):
    if not norm.LIBRARY.is_usable():
        pytest.skip("no compiler when jukejax was installed, or a processor without AVX2")
    x, scale, bias, dy = given(shape)
    expected, back = jax.vjp(plain, x, scale, bias)
    out, ours = jax.vjp(norm.layer_norm, x, scale, bias)
    assert norm.TARGET in jax.jit(norm.layer_norm).lower(x, scale, bias).as_text()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for found, right in zip(ours(dy), back(dy), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5 * x.size**0.5)
