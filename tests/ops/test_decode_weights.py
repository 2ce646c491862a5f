"""Products with a matrix kept by rows or in panels: groups and padding change nothing."""

import numpy as np
import pytest

from jukejax.ops import decode_weights
from jukejax.ops.cpu.panels import LIBRARY as panels_library
from jukejax.ops.cpu.switch import set_cpu_kernels


@pytest.mark.parametrize("vectors", [1, 4, 32, 33])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_of_rows_are_the_matrix(vectors, groups):
    random = np.random.default_rng(0)
    x = random.normal(size=(vectors, 10)).astype(np.float32)
    matrix = random.normal(size=(12, 10)).astype(np.float32)
    kept = matrix.reshape(groups, -1, 10) if groups > 1 else matrix
    expected = x.astype(np.float64) @ matrix.T.astype(np.float64)
    np.testing.assert_allclose(
        decode_weights.multiply_rows(x, kept), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("features", [1, 31, 32, 33, 100])
def test_panels_are_the_matrix(features):
    random = np.random.default_rng(0)
    x, matrix, bias, residual = (
        random.normal(size=shape).astype(np.float32)
        for shape in ((4, 10), (10, features), features, (4, features))
    )
    scale = random.uniform(0.5, 2.0, size=features).astype(np.float32)
    panels = decode_weights.pack_panels(matrix)
    assert panels.shape == (-(-features // 32), 10, 32)
    np.testing.assert_array_equal(decode_weights.unpack_panels(panels, features), matrix)
    product = x.astype(np.float64) @ matrix
    for scaled, factor in ((None, 1.0), (scale, scale)):
        logits = decode_weights.multiply_panels(x, panels, features, scaled)
        np.testing.assert_allclose(logits, product * factor, rtol=1e-5, atol=1e-5)
        out = decode_weights.dense_panels(x, panels, bias, scale=scaled, residual=residual)
        expected = product * factor + bias + residual
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
        out = decode_weights.dense_panels(x, panels, bias, scale=scaled, gelu=True)
        expected = product * factor + bias
        expected = expected / (1 + np.exp(-1.702 * expected))
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_cpus_store_panels_if_their_kernels_are_on():
    on = panels_library.is_usable()
    with set_cpu_kernels(True):
        for dtype in ("float32", "float16", "bfloat16", "int8"):
            assert (decode_weights.find_layout("cpu", dtype).name == "panels") == on
        assert decode_weights.find_layout("gpu", "float32") == ("rows", 1)
        assert decode_weights.find_layout("tpu", "float32").name == "kernel"
    with set_cpu_kernels(False):
        assert decode_weights.find_layout("cpu", "float32").name == "rows"
