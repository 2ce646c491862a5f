"""Affine maps against NumPy, with the CPU kernels off."""

import jax
import numpy as np
import pytest

from jukejax.ops.cpu.switch import is_for_cpu
from jukejax.ops.dense import dense, matmul


@pytest.mark.parametrize("follows", ["nothing", "gelu", "residual"])
def test_dense_equals_its_formula(follows):
    assert not is_for_cpu()  # as tests/conftest.py sets it
    random = np.random.default_rng(0)
    x, kernel, bias = (
        random.normal(size=(2, 3, 5)),
        random.normal(size=(5, 4)),
        random.normal(size=4),
    )
    residual = random.normal(size=(2, 3, 4)) if follows == "residual" else None
    expected = x @ kernel + bias
    if follows == "gelu":
        expected = expected / (1 + np.exp(-1.702 * expected))
    if residual is not None:
        expected = expected + residual
    arrays = [None if y is None else y.astype(np.float32) for y in (x, kernel, bias, residual)]
    out = dense(*arrays[:3], gelu=follows == "gelu", residual=arrays[3])
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_matmul_has_the_gradients_of_the_product():
    random = np.random.default_rng(1)
    x, kernel, dy = (
        random.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5), (5, 4), (2, 3, 4))
    )
    out, vjp = jax.vjp(matmul, x, kernel)
    np.testing.assert_allclose(out, x @ kernel, rtol=1e-5, atol=1e-5)
    dx, dkernel = vjp(dy)
    np.testing.assert_allclose(dx, dy @ kernel.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dkernel, np.einsum("btc,btd->cd", x, dy), rtol=1e-5, atol=1e-5)
