"""The compiled products against sums in float64, and when they are used."""

import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.cpu import products
from jukejax.ops.cpu.switch import disable_cpu_kernels

COMPILED = products  # what `needs_compiled` asks for


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


# Rows, channels and features around the sizes of registers (14), tiles (16), blocks (32, 512) and
# depths (128, 256).
SHAPES = [(1, 1, 1), (13, 5, 31), (15, 129, 33), (300, 257, 65), (64, 96, 1100), (40, 2000, 48)]


USES_TILES = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.ProductUsesTiles.restype = ctypes.c_bool
sys.exit(library.ProductUsesTiles())
"""


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("variable", [None, "JUKEJAX_NO_AVX512", "JUKEJAX_NO_TILES"])
def test_tiles_are_left_out_on_demand(variable):
    path = importlib.util.find_spec("jukejax.ops.cpu._products").origin
    variables = {k: v for k, v in os.environ.items() if not k.startswith("JUKEJAX_NO_")}
    if variable:
        variables[variable] = "1"
    done = subprocess.run([sys.executable, "-c", USES_TILES, path], env=variables)
    assert done.returncode in (0, 1)
    if variable:
        assert done.returncode == 0
    elif done.returncode == 0:
        pytest.skip("this processor has no tiles: the tests here are of its vectors")


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_and_gradients_are_as_exact_as_float32_is(shape, transposed):
    rows, channels, features = shape
    x, matrix, dy = normal(rows, channels), normal(channels, features), normal(rows, features)
    given = matrix.T.copy() if transposed else matrix
    out, pullback = jax.vjp(lambda x, m: products.product(x, m, transposed), x, given)
    dx, dm = pullback(jnp.asarray(dy))
    wide, wide_dy = x.astype(np.float64), dy.astype(np.float64)
    exact = wide @ matrix, wide_dy @ matrix.T.astype(np.float64), wide.T @ wide_dy
    for found, y, terms in zip(
        (out, dx, dm.T if transposed else dm), exact, (1, 2, 0), strict=True
    ):
        summands = (rows, channels, features)[terms]
        assert found.shape == y.shape
        np.testing.assert_allclose(found, y, rtol=0, atol=2e-6 * summands**0.5)


def exact_dense(x, matrix, bias, residual, gelu, dy):
    """In float64: the result and the gradients of x, matrix, bias."""
    x, matrix, bias, dy = (given.astype(np.float64) for given in (x, matrix, bias, dy))
    before = x @ matrix + bias
    gate = 1 / (1 + np.exp(-1.702 * before))
    slope = gate + 1.702 * before * gate * (1 - gate) if gelu else 1.0
    out = (before * gate if gelu else before) + (0.0 if residual is None else residual)
    return out, (dy * slope) @ matrix.T, x.T @ (dy * slope), (dy * slope).sum(axis=0)


# The last two: threads share out the summands, of the product and of its matrix's gradient.
@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("follows", ["nothing", "gelu", "residual"])
@pytest.mark.parametrize("shape", [*SHAPES, (64, 8192, 96), (8192, 64, 96)], ids=str)
def test_dense_layers_and_gradients_are_as_exact_as_float32_is(shape, follows):
    rows, channels, features = shape
    x, matrix, bias = normal(rows, channels), normal(channels, features), normal(features)
    residual = normal(rows, features, seed=1) if follows == "residual" else None
    matrix, gelu, dy = matrix / np.float32(channels**0.5), follows == "gelu", normal(rows, features)

    def work(x, matrix, bias, residual):
        return products.fused_dense(x, matrix, bias, residual, gelu)

    out, pullback = jax.vjp(work, x, matrix, bias, residual)
    *gradients, of_residual = pullback(jnp.asarray(dy))
    exact = exact_dense(x, matrix, bias, residual, gelu, dy)
    for found, y, terms in zip((out, *gradients), exact, (1, 2, 0, 0), strict=True):
        summands = (rows, channels, features)[terms]
        assert found.shape == y.shape
        np.testing.assert_allclose(found, y, rtol=0, atol=3e-6 * summands**0.5)
    if follows == "residual":
        np.testing.assert_array_equal(of_residual, dy)


@pytest.mark.usefixtures("needs_compiled")
def test_activations_are_right_far_from_zero():
    x = np.zeros((64, 8), np.float32)
    bias = np.array([-np.inf, -3e38, -200.0, -0.0, 1e-30, 60.0, 3e38, np.nan], np.float32)
    found = products.fused_dense(x, np.zeros((8, 8), np.float32), bias, None, True)[0]
    np.testing.assert_allclose(found, bias * [np.nan, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, np.nan])


def test_a_residual_and_an_activation_are_not_for_the_same_layer():
    x, matrix, bias = normal(64, 64), normal(64, 64), normal(64)
    with pytest.raises(ValueError, match="give one of the two"):
        products.fused_dense(x, matrix, bias, x, True)


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("misfit", ["bias", "residual"])
def test_what_does_not_fit_the_product_is_refused(misfit):
    x, matrix = normal(64, 8), normal(8, 16)
    bias = normal(15 if misfit == "bias" else 16)
    residual = normal(64, 15 if misfit == "residual" else 16)
    with pytest.raises(jax.errors.JaxRuntimeError, match="bias or the residual does not fit"):
        jax.block_until_ready(products.fused_dense(x, matrix, bias, residual, False))


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(("of_x", "of_matrix"), [(1e-15, 1e15), (1e25, 1e-30), (1e-12, 1e-12)])
def test_small_and_large_numbers_lose_nothing(of_x, of_matrix):
    x, matrix = normal(100, 70), normal(70, 90)
    found = products.product(x * np.float32(of_x), matrix * np.float32(of_matrix))
    exact = (x * np.float32(of_x)).astype(np.float64) @ (matrix * np.float32(of_matrix))
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * 70**0.5 * of_x * of_matrix)


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("shape", [(4096, 256, 64), (64, 8192, 96)])
def test_gives_the_same_bits_each_time(shape):
    """Also where threads share out the summands."""
    rows, channels, features = shape
    x, matrix = normal(rows, channels), normal(channels, features)
    work = jax.jit(products.product, static_argnums=2)
    first = np.asarray(work(x, matrix, False))
    assert all(np.array_equal(first, work(x, matrix, False)) for _ in range(20))


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00001, 0x7FFFFFFF])
def test_what_is_not_a_number_stays_one(bits):
    x, matrix = normal(64, 64), normal(64, 64)
    x[3, 5] = np.array(bits, np.uint32).view(np.float32)
    found = np.isnan(products.product(x, matrix))
    assert found[3].all()
    assert found.sum() == 64
    found = np.isnan(products.product(matrix, x))
    assert found[:, 5].all()
    assert found.sum() == 64


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_what_is_infinite_does_not_become_finite(infinity):
    x, matrix = normal(64, 64), normal(64, 64)
    x[3, 5] = infinity
    found = ~np.isfinite(products.product(x, matrix))
    assert found[3].all()
    assert found.sum() == 64
    found = ~np.isfinite(products.product(matrix, x))
    assert found[:, 5].all()
    assert found.sum() == 64


@pytest.mark.usefixtures("needs_compiled")
def test_large_products_in_float32_on_one_device_are_ours():
    large = jax.ShapeDtypeStruct((4096, 64), jnp.float32)
    assert products.supports_product(large, 64)
    assert not products.supports_product(jax.ShapeDtypeStruct((4096, 64), jnp.bfloat16), 64)
    assert not products.supports_product(jax.ShapeDtypeStruct((16, 64), jnp.float32), 64)
    with disable_cpu_kernels():
        assert not products.supports_product(large, 64)
    mesh = jax.sharding.AbstractMesh((2,), ("x",))
    with jax.sharding.use_abstract_mesh(mesh):
        assert not products.supports_product(large, 64)


@pytest.mark.usefixtures("needs_compiled")
def test_results_have_a_name_for_policies_of_rematerialization():
    saved = jax.checkpoint_policies.save_only_these_names(products.RESULT)

    def calls(work, policy):
        def loss(x, matrix):
            run = jax.checkpoint(lambda x: jnp.sin(work(x, matrix)), policy=policy)
            return run(x).sum()

        gradient = jax.jit(jax.value_and_grad(loss))
        text = gradient.lower(normal(64, 64), normal(64, 64)).as_text()
        return text.count(f"@{products.TARGET}(")

    def activated(x, matrix):
        return products.fused_dense(x, matrix, matrix[0], None, True)

    for work in (products.product, activated):
        assert calls(work, None) == calls(work, saved) + 1
