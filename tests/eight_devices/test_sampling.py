"""Levels sampled on eight devices are those of one, bit for bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import generate, window_runners
from jukejax.inference.conditioning import Labels, prepare_weights
from jukejax.inference.generate import LevelTracks, SamplingSettings, make_item_keys
from jukejax.inference.placement import Replicas, divide_rows, map_rows
from jukejax.ops.cpu.switch import is_for_one_cpu, set_cpu_kernels
from tests.support import small_bundle

CONFIG = small_bundle.configs("none")["level_1"]
TOTAL = 160  # codes: four windows


@functools.cache
def load_weights(kernels):
    """Returns random weights, large enough for every code to depend on those before it.

    Their layout is that of the kernels, or of the plain formulas.
    """
    params = small_bundle.random_weights(CONFIG, seed=1)["params"]
    with set_cpu_kernels(kernels):
        return prepare_weights(CONFIG, jax.tree.map(lambda leaf: 4 * leaf, params), jnp.float32)


def sample(items, num_devices, kernels, **settings):
    """Returns the tracks, int32 [items, TOTAL]."""
    upper_codes = np.random.default_rng(0).integers(16, size=(32, TOTAL // 4))
    tracks = LevelTracks(
        total=TOTAL,
        codes=np.zeros((items, 0), np.int32),
        upper_codes=upper_codes[:items].astype(np.int32),
        labels=[Labels(item % 3, (1,), 10 * 44100) for item in range(items)],
        keys=make_item_keys(0, range(items), 1),
    )
    devices = tuple(jax.devices()[:num_devices]) if num_devices > 1 else ()
    settings = SamplingSettings(window_hop=32, temperature=1.0, devices=devices, **settings)
    with set_cpu_kernels(kernels):
        *_, last = generate.sample_level(CONFIG, load_weights(kernels), tracks, settings)
    return last.codes


@pytest.fixture
def programs(monkeypatch):
    """Records (devices, rows) of each call of the program of several devices."""
    calls, run = [], window_runners.sample_divided_windows

    def record(config, logits_filter, weights, inputs, *options, mesh):
        assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(weights)} == {mesh.size}
        codes = run(config, logits_filter, weights, inputs, *options, mesh=mesh)
        assert {shard.data.shape[0] for shard in codes.addressable_shards} == {
            len(codes) // mesh.size
        }
        calls.append((mesh.size, len(codes)))
        return codes

    monkeypatch.setattr(window_runners, "sample_divided_windows", record)
    return calls


@pytest.mark.parametrize(
    ("items", "division", "settings"),
    [
        (9, (5, 10), {}),
        (3, (6, 6), {"schedule": "parallel", "guidance": 1.5}),  # 12 windows, two rows for each
    ],
)
def test_eight_devices_sample_what_one_samples(programs, items, division, settings):
    """With the kernels, which give a row the same bits in every batch."""
    expected = sample(items, 1, kernels=True, **settings)
    assert not programs
    codes = sample(items, 8, kernels=True, **settings)
    assert set(programs) == {division}
    np.testing.assert_array_equal(codes, expected)
    assert len(np.unique(codes)) > 8
    assert (codes[0] != codes[1]).any()


def test_eight_devices_sample_what_one_samples_without_kernels(programs):
    """With one row on each device, so that the products have the same shapes."""
    expected = sample(8, 1, kernels=False, max_batch=1)
    codes = sample(8, 8, kernels=False)
    assert set(programs) == {(8, 8)}
    np.testing.assert_array_equal(codes, expected)


def test_kernels_are_used_by_programs_of_one_device_each():
    """A program that XLA partitions must not have them."""
    answers = []

    def add(weights, inputs):
        answers.append(is_for_one_cpu())
        return weights + inputs

    mesh, weights = Replicas(jnp.ones(()), jax.devices()).place(8)
    with set_cpu_kernels(True):
        total = map_rows(add, mesh, weights, jnp.arange(16.0))
        with jax.set_mesh(mesh):
            jax.jit(add)(weights, jnp.arange(16.0))
    np.testing.assert_array_equal(total, 1 + np.arange(16))
    assert answers == [True, False]


@pytest.mark.parametrize(
    ("rows", "devices", "division"),
    [
        (1, 8, (1, 1)),
        (7, 8, (7, 1)),
        (8, 8, (8, 1)),
        (9, 8, (5, 2)),
        (17, 8, (6, 3)),
        (5, 1, (1, 5)),
    ],
)
def test_rows_are_divided_with_the_fewest_on_a_device(rows, devices, division):
    assert divide_rows(rows, devices) == division
