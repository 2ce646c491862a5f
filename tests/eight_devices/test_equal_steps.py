"""Steps on one device against the same steps sharded over eight, accumulated, or recomputed."""

import functools

import jax
import numpy as np
import pytest

from jukejax.runtime import sharding
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import program
from tests.support.small_tasks import batches, config_of

MESHES = {
    "data": MeshConfig(8),
    "fsdp": MeshConfig(1, 8),
    "tensor": MeshConfig(1, 1, 8),
    "mixed": MeshConfig(2, 2, 2),
}


@functools.cache
def train(name, mesh=None, accumulate=1, remat="none"):
    """The states before and after a few steps, on the host, and the last loss."""
    task = program.make_task(config_of(name, accumulate, remat), with_data=False)
    recipe = program.make_recipe(config_of(name, accumulate, remat))
    devices = jax.devices()[:8] if mesh else jax.devices()[:1]
    placed = sharding.make_mesh(MESHES[mesh] if mesh else MeshConfig(), devices)
    built = program.build_program(task, recipe, placed)
    with jax.set_mesh(placed):
        state = built.init(jax.random.key(0))
        start = jax.tree.map(np.asarray, state)  # the step gives its memory away
        for batch in batches(task):
            batch = sharding.put_batch(placed, batch)
            state, metrics = built.update(state, batch, jax.random.key(1))
    assert int(state.skipped) == 0
    return start, jax.tree.map(np.asarray, state), float(metrics["loss"])


def assert_equal(name, **how):
    _, expected, expected_loss = train(name)
    _, state, loss = train(name, **how)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for part in ("params", "ema_params", "extra"):
        theirs = dict(jax.tree_util.tree_leaves_with_path(getattr(expected, part)))
        ours = dict(jax.tree_util.tree_leaves_with_path(getattr(state, part)))
        assert theirs.keys() == ours.keys()
        for path, leaf in theirs.items():
            where = f"{part}{jax.tree_util.keystr(path)}"
            # The codebooks' sums over a batch are in the hundreds: these to 1e-5 of their size.
            rtol = 1e-5 if part == "extra" else 0.0
            np.testing.assert_allclose(ours[path], leaf, rtol=rtol, atol=1e-5, err_msg=where)


def test_steps_move_every_model():
    """So that the comparisons below compare something."""
    start, state, _ = train("prior")
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, state.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_prior_trains_on_a_mixed_mesh_in_parts_recomputed_as_on_one_device():
    """The mesh is sharded along all of its axes.

    One program for three claims: the slow tests below separate them.
    """
    assert_equal("prior", mesh="mixed", accumulate=2, remat="dots")


@pytest.mark.slow
def test_vqvae_trains_on_a_mixed_mesh_in_parts_as_on_one_device():
    assert_equal("vqvae", mesh="mixed", accumulate=2)


@pytest.mark.slow
def test_upsampler_trains_on_a_mixed_mesh_in_parts_as_on_one_device():
    assert_equal("upsampler", mesh="mixed", accumulate=2)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["dots", "block", "full"])
def test_recomputing_changes_nothing(remat):
    assert_equal("prior", remat=remat)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [2, 8])
def test_accumulating_changes_nothing(accumulate):
    assert_equal("prior", accumulate=accumulate)


@pytest.mark.slow
def test_accumulating_on_a_mesh_changes_nothing():
    assert_equal("prior", mesh="mixed", accumulate=4, remat="full")


@pytest.mark.slow
def test_vqvae_trains_in_parts_as_at_once_codebooks_included():
    assert_equal("vqvae", accumulate=4)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("name", ["prior", "vqvae", "upsampler"])
def test_every_model_trains_on_every_mesh_as_on_one_device(name, mesh):
    assert_equal(name, mesh=mesh)
