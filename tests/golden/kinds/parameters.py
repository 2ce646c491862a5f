"""OpenAI's parameters as ours, and the comparison of gradients under their names."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.weights import mapping
from tests.golden.kinds.case import assert_close

LAYER, MODEL = 1e-5, 1e-4  # relative tolerances of a layer and of a stack


def shapes_of(init, *args):
    """Returns our parameter tree as shapes, without boxes."""
    return nn.meta.unbox(jax.eval_shape(init, jax.random.key(0), *args))["params"]


def as_jax(tree):
    """Converts the leaves to JAX arrays."""
    return jax.tree.map(jnp.asarray, tree)


def assert_gradients(entries, ours, case, prefix, rtol, loose=()):
    """Compares every gradient in the file; `loose` names are zero in exact arithmetic."""
    ours = mapping.build_state(entries, ours)
    theirs = case.group(prefix)
    largest = max(np.abs(value).max() for value in theirs.values())
    for name, value in theirs.items():
        if any(part in name for part in loose):
            width = value.shape[0] // 3
            exact = np.r_[:width, 2 * width : 3 * width]  # queries and values
            assert_close(ours[name][exact], value[exact], rtol=rtol, name=prefix + name)
            assert np.abs(ours[name] - value).max() <= rtol * largest, prefix + name
        else:
            assert_close(ours[name], value, rtol=rtol, name=prefix + name)
