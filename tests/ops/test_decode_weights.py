"""Products with a matrix kept by rows: groups change nothing."""

import numpy as np
import pytest

from jukejax.ops import decode_weights


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
