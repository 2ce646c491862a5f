"""Compiled products with matrices in panels against sums in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import decode_weights
from jukejax.ops.cpu import panels
from jukejax.ops.cpu.switch import disable_cpu_kernels

COMPILED = panels  # what `needs_compiled` asks for
pytestmark = pytest.mark.usefixtures("needs_compiled")

# Rows, inputs and features around the sizes of registers (6, 14), vectors (8, 16), panels (32) and
# parts.
SHAPES = [(1, 1, 1), (2, 5, 31), (6, 64, 32), (7, 3, 33), (13, 129, 48), (14, 32, 65), (15, 7, 100)]
SHAPES += [(16, 512, 384), (29, 100, 17), (33, 1, 1100), (64, 257, 95)]


def make_inputs(shape, dtype):
    """Returns x, a stored matrix, its scale or None, the matrix that they stand for, and a bias."""
    rows, inputs, features = shape
    rng = np.random.default_rng(shape)
    x, bias = (rng.normal(size=s).astype(np.float32) for s in ((rows, inputs), features))
    matrix = rng.normal(size=(inputs, features), scale=inputs**-0.5).astype(np.float32)
    if dtype == "int8":
        stored, scale = decode_weights.quantize_int8(jnp.asarray(matrix), 0)
        return x, stored, scale, np.asarray(stored, np.float64) * np.asarray(scale), bias
    stored = jnp.asarray(matrix).astype(dtype)
    return x, stored, None, np.asarray(stored).astype(np.float64), bias


def count_calls(work, *arguments):
    return jax.jit(work).lower(*arguments).as_text().count(f"@{panels.TARGET}(")


@pytest.mark.parametrize("follows", ["nothing", "gelu", "residual"])
@pytest.mark.parametrize("dtype", panels.MATRIX_DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_as_exact_as_float32_is(shape, dtype, follows):
    x, stored, scale, matrix, bias = make_inputs(shape, dtype)
    residual = np.random.default_rng(1).normal(size=(shape[0], shape[2])).astype(np.float32)
    residual = residual if follows == "residual" else None

    def work(x, packed):
        addends = dict(scale=scale, gelu=follows == "gelu", residual=residual)
        return decode_weights.dense_panels(x, packed, bias, **addends)

    packed = decode_weights.pack_panels(stored)
    assert count_calls(work, x, packed) == 1
    expected = x.astype(np.float64) @ matrix + bias
    if follows == "gelu":
        expected = expected / (1 + np.exp(-1.702 * expected))
    if residual is not None:
        expected = expected + residual
    np.testing.assert_allclose(jax.jit(work)(x, packed), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", panels.MATRIX_DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_as_exact_as_float32_is(shape, dtype):
    x, stored, scale, matrix, _ = make_inputs(shape, dtype)
    packed = decode_weights.pack_panels(stored)
    logits = decode_weights.multiply_panels(x, packed, shape[2], scale)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, x.astype(np.float64) @ matrix, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", panels.MATRIX_DTYPES)
def test_a_row_has_the_same_bits_in_every_batch(dtype):
    x, stored, scale, _, bias = make_inputs((64, 200, 300), dtype)
    packed = decode_weights.pack_panels(stored)
    together = decode_weights.dense_panels(x, packed, bias, scale=scale, gelu=True)
    for first, last in ((0, 1), (1, 3), (3, 10), (5, 19), (20, 37), (11, 64)):
        alone = decode_weights.dense_panels(x[first:last], packed, bias, scale=scale, gelu=True)
        np.testing.assert_array_equal(alone, together[first:last])


def test_bfloat16_rows_are_multiplied_in_float32():
    x, stored, _, matrix, bias = make_inputs((5, 300, 40), "bfloat16")
    x = jnp.asarray(x, jnp.bfloat16)
    out = decode_weights.dense_panels(x, decode_weights.pack_panels(stored), bias)
    assert out.dtype == jnp.bfloat16
    expected = np.asarray(x).astype(np.float64) @ matrix + bias
    np.testing.assert_allclose(np.asarray(out, np.float32), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_or_column(value):
    x, matrix = np.ones((20, 40), np.float32), np.ones((40, 50), np.float32)
    x[3, 5] = value
    out = panels.dense(x, decode_weights.pack_panels(matrix), 50)
    assert np.isfinite(out).all(axis=1).tolist() == [row != 3 for row in range(20)]
    out = panels.dense(x.T[:, :3], decode_weights.pack_panels(matrix.T[:3]), 40)
    assert np.isfinite(out).all()
    matrix[7, 33] = value
    out = panels.dense(np.ones((20, 40), np.float32), decode_weights.pack_panels(matrix), 50)
    assert np.isfinite(out).all(axis=0).tolist() == [column != 33 for column in range(50)]


def test_many_rows_and_programs_without_kernels_use_the_plain_definition():
    x, stored, _, matrix, bias = make_inputs((600, 16, 40), "float32")
    packed = decode_weights.pack_panels(stored)

    def work(x):
        return decode_weights.dense_panels(x, packed, bias)

    assert count_calls(work, x) == 0
    assert count_calls(work, x[:500]) == 1
    with disable_cpu_kernels():
        assert count_calls(work, x[:5]) == 0
        few = work(x[:5])
    mesh = jax.sharding.AbstractMesh((2,), ("x",))
    with jax.sharding.use_abstract_mesh(mesh):
        assert not panels.supports_panels(jnp.float32)
    for out in (work(x)[:5], few):
        np.testing.assert_allclose(out, x[:5].astype(np.float64) @ matrix + bias, atol=1e-5)


def test_what_does_not_fit_is_refused():
    x, packed = np.ones((2, 8), np.float32), np.ones((2, 8, panels.WIDTH), np.float32)
    bias, residual = np.ones(40, np.float32), np.ones((2, 40), np.float32)
    with pytest.raises(ValueError, match="give one of the two"):
        panels.dense(x, packed, 40, bias=bias, gelu=True, residual=residual)
    for wrong in (dict(bias=bias[1:]), dict(bias=bias, residual=residual[1:])):
        with pytest.raises(jax.errors.JaxRuntimeError, match="or the residual does not fit"):
            jax.block_until_ready(panels.dense(x, packed, 40, **wrong))
    for arguments in ((x[:, 1:], packed, 40), (x, packed, 65), (x, packed[..., 1:], 40)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="do not fit together"):
            jax.block_until_ready(panels.dense(*arguments))
