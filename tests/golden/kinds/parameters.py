"""OpenAI's parameters as ours, and the comparison of gradients under their names."""

from collections.abc import Iterable, Mapping

import jax
import numpy as np
from flax import traverse_util

from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import mapping
from jukejax.weights.openai import parts
from tests.golden.kinds.case import assert_close

LAYER, MODEL = 1e-5, 1e-4  # relative tolerances of a layer and of a stack


def load_params(entries: Iterable[mapping.Entry], state: Mapping[str, np.ndarray]) -> dict:
    """Returns OpenAI's tensors as our parameters; Flax checks their shapes when they are used.

    The shapes of our tree are taken from the file: to initialize the model would take longer.
    """
    entries, shapes = list(entries), {}
    for entry in entries:
        shape = state[entry.name].shape
        if entry.axes is not None:
            shape = tuple(shape[axis] for axis in entry.axes)
        if entry.layer is not None:
            count = sum(other.path == entry.path for other in entries)
            shape = (count, *shape)
        node = shapes
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        node[entry.path[-1]] = jax.ShapeDtypeStruct(shape, np.float32)
    return as_jax(mapping.build_tree(entries, state, shapes))


def load_vqvae(config: VQVAEConfig, state: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
    """Converts OpenAI's tensors to (params, codebook) as `convert` does, without its file."""
    leaves = parts.plan_part(config, state)
    flat = parts.restore_codebooks(leaves, state)
    for leaf in leaves:
        pieces = [piece.reshape(-1) for piece in leaf.convert_pieces(state)]
        flat[leaf.name] = np.concatenate(pieces).reshape(leaf.shape)
    tree = traverse_util.unflatten_dict(flat, sep="/")
    return tree["params"], tree.get("extra", {})


def as_jax(tree):
    """Converts the leaves to JAX arrays, without a program for each shape."""
    return jax.device_put(tree)


def assert_gradients(entries, ours, case, prefix, rtol, loose=()):
    """Compares every gradient in the file; `loose` names are zero in exact arithmetic."""
    ours = mapping.build_state(entries, jax.device_get(ours))
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
