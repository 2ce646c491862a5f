"""A function over a batch in chunks is the function over the batch."""

import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.chunks import map_chunks


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 6, 7, 50])
def test_chunks_give_what_the_whole_gives(chunk):
    x, y = jnp.arange(21.0).reshape(7, 3), jnp.arange(7)
    seen = []

    def function(x, nothing, y):
        seen.append(len(x))
        assert nothing is None
        return {"sum": x.sum(axis=1) + y, "none": None, "x": x[:, None]}

    found = map_chunks(function, chunk, x, None, y)
    np.testing.assert_array_equal(found["sum"], x.sum(axis=1) + y)
    np.testing.assert_array_equal(found["x"], x[:, None])
    assert found["none"] is None
    assert seen == [min(chunk or 7, 7)]
