"""float16 with its loss scale and bfloat16 against float32, on a prior that learns."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jukejax.runtime import precision, sharding
from jukejax.runtime.sharding import MeshConfig
from jukejax.training import program
from tests.support.small_tasks import config_of

STEPS, LAST = 100, 10  # the last ones are compared, on the same batches


def melody(random):
    """Codes that climb, and every second one drawn at random: something to learn, not by heart."""
    codes = (random.integers(0, 24, (16, 1)) + 3 * np.arange(16)) % 24
    codes[:, ::2] = random.integers(0, 24, (16, 8))
    return codes.astype(np.int32)


@functools.cache
def build(dtype):
    """Returns the mesh and the compiled program of a type, for all runs."""
    config = config_of("prior")
    config.dtype = dtype
    config.optimizer.eps = 1e-8
    config.optimizer.learning_rate = 4e-3  # at higher rates rounding alone leads elsewhere
    config.optimizer.decay_start, config.optimizer.decay_steps = 50, 50  # so that noise settles
    mesh = sharding.make_mesh(MeshConfig(), jax.devices()[:1])
    task = program.make_task(config, with_data=False)
    return mesh, program.build_program(task, program.make_recipe(config), mesh)


def train(dtype, *, steps=STEPS, scale=None):
    mesh, built = build(dtype)
    random, rows = np.random.default_rng(0), []
    with jax.set_mesh(mesh):
        state = built.init(jax.random.key(0))
        if scale:
            scale = jax.device_put(np.float32(scale), state.loss_scale.sharding)
            state = dataclasses.replace(state, loss_scale=scale)
        for _ in range(steps):
            codes = melody(random)
            labels = np.tile(np.int32([10_000_000, 100_000, 2048, 1, 2, -1]), (16, 1))
            batch = {"codes": codes, "labels": labels, "track": np.zeros(16, np.int32)}
            batch = sharding.put_batch(mesh, batch)
            state, metrics = built.update(state, batch, jax.random.key(1))
            rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows


@functools.cache
def float32_loss():
    return np.mean([row["loss"] for row in train("float32")[1][-LAST:]])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_reaches_the_loss_of_float32(dtype):
    state, rows = train(dtype)
    last = np.mean([row["loss"] for row in rows[-LAST:]])
    assert rows[0]["loss"] > 4.0  # bits, of 24 codes
    assert float32_loss() < 0.9 * rows[0]["loss"]
    # Not worse by more than 1 %. The loss still falls, so that a run may also be ahead: bfloat16
    # was 1.2 % below float32 on a CPU with AMX, whose products round otherwise.
    assert 0.97 * float32_loss() <= last <= 1.01 * float32_loss()
    assert jax.tree.leaves(state.params)[0].dtype == np.float32
    assert ("loss_scale" in rows[0]) == (dtype == "float16")


def test_a_scale_that_overflows_float16_is_halved_until_it_fits_and_the_steps_are_counted():
    state, rows = train("float16", steps=20, scale=2.0**26)
    skipped = int(state.skipped)
    assert 3 <= skipped < 15
    assert [row["skipped_in_row"] for row in rows[:3]] == [1, 2, 3]
    np.testing.assert_allclose([row["loss_scale"] for row in rows[:3]], [2.0**25, 2.0**24, 2.0**23])
    assert min(row["skipped_in_row"] for row in rows[-5:]) == 0  # it grows back, and may overflow
    assert np.isfinite(rows[-1]["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_an_unknown_type_is_named():
    with pytest.raises(ValueError, match="dtype is 'float8'; known: float32, bfloat16, float16"):
        precision.compute_dtype("float8")
