"""The compiled layer normalization, and the form by products, against JAX's derivatives."""

import jax
import numpy as np
import pytest

from jukejax.ops.cpu import norm
from jukejax.ops.norm import layer_norm
from tests.ops.test_norm import differentiate, normal_inputs, reference_norm

COMPILED = norm  # what `needs_compiled` asks for


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("shape", [(2, 500, 48), (3, 16), (1, 40, 1920)])
def test_the_compiled_form_equals_the_formula(shape):
    x, scale, bias, dy = normal_inputs(shape)
    expected, expected_grads = differentiate(reference_norm, dy, x, scale, bias)
    out, grads = differentiate(layer_norm, dy, x, scale, bias)
    assert norm.LIBRARY.target("Forward") in jax.jit(layer_norm).lower(x, scale, bias).as_text()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-5, atol=1e-5 * x.size**0.5)


@pytest.mark.parametrize("shape", [(2, 5, 31), (7, 47)])
def test_the_form_by_products_equals_the_formula(shape):
    x, scale, bias, dy = normal_inputs(shape)
    expected, expected_grads = differentiate(reference_norm, dy, x, scale, bias)
    out, grads = differentiate(layer_norm, dy, x, scale, bias)
    assert norm.LIBRARY.target("Forward") not in jax.jit(layer_norm).lower(x, scale, bias).as_text()
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-5, atol=2e-5)
