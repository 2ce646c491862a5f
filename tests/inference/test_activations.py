"""Activations against the model's own logits, and several windows against one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import activations
from jukejax.inference.conditioning import (
    Labels,
    TrackCodes,
    compute_conditions,
    make_window_labels,
    prepare_weights,
)
from jukejax.models.block import Block
from jukejax.models.prior import Prior
from tests.support import small_bundle

LABELS = Labels(artist=1, genres=(1,), total_samples=100_000)


@functools.cache
def make_prior(level, lyrics="none"):
    """Returns config, parameters and prepared weights of a level's prior."""
    config = small_bundle.configs(lyrics)[f"level_{level}"]
    params = small_bundle.random_weights(config)["params"]
    return config, params, prepare_weights(config, params, jnp.float32)


def make_codes(config, count, seed=0):
    random = np.random.default_rng(seed)
    ratio = 1 if config.upper is None else config.upper.ratio
    upper = None if config.upper is None else random.integers(0, 16, count // ratio)
    return random.integers(0, 16, count), upper


def compute_activations(config, weights, codes, upper=None, **more):
    options = {"layers": [0, 1], "pooling": "none", "window_hop": 64} | more
    track = TrackCodes(codes, upper, LABELS)
    return activations.compute_track_activations(config, weights, track, **options)


@pytest.mark.parametrize(
    ("level", "lyrics"), [(1, "none"), pytest.param(2, "separate", marks=pytest.mark.slow)]
)
def test_logits_follow_from_the_last_layer(level, lyrics):
    config, params, weights = make_prior(level, lyrics)
    depth = config.transformer.num_layers
    codes, upper = make_codes(config, 64)
    last = compute_activations(config, weights, codes, upper, layers=[depth]).values[:, 0]
    rows = make_window_labels(config, [LABELS], 0)
    upper_rows = None if upper is None else upper[None]
    expected = jax.jit(Prior(config).apply)({"params": params}, codes[None], upper_rows, rows)[0]

    @jax.jit
    def predict(last, upper_rows, rows):
        conditions = compute_conditions(config, weights, upper_rows, rows)
        model = Prior(config).bind({"params": params}).autoregressive
        return model.predict(last[None], conditions.code_cond)[0]

    logits = predict(last, upper_rows, rows)
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4)


def test_each_layer_is_the_block_applied_to_the_layer_before():
    config, params, weights = make_prior(2)
    codes, _ = make_codes(config, 64)
    values = compute_activations(config, weights, codes, layers=[0, 1, 2, 3]).values
    stack = params["autoregressive"]["transformer"]
    for layer in range(3):
        one = dataclasses.replace(config.transformer, num_layers=1)
        kind = config.transformer.pattern[layer]
        block = Block(one, kind, parent=None)
        own = jax.tree.map(lambda leaf, i=layer: leaf[i], stack["self_layers"])
        expected = jax.jit(block.apply)({"params": own}, values[None, :, layer])[0]
        np.testing.assert_allclose(values[:, layer + 1], expected, rtol=1e-4, atol=1e-5)


def test_pooled_activations_equal_pooling_of_all_activations():
    config, _, weights = make_prior(1)
    codes, upper = make_codes(config, 152)  # two windows, and one that is moved back
    whole = compute_activations(config, weights, codes, upper)
    assert whole.values.shape == (152, 2, 16)
    np.testing.assert_array_equal(whole.begins, np.arange(152))
    for pooling, pool in (
        ("mean", lambda x: x.mean(axis=0)),
        ("max", lambda x: x.max(axis=0)),
        ("last", lambda x: x[-1]),
    ):
        pooled = compute_activations(config, weights, codes, upper, pooling=pooling, batch_size=2)
        np.testing.assert_array_equal(pooled.begins, [0, 64, 128])
        np.testing.assert_array_equal(pooled.ends, [64, 128, 152])
        expected = [pool(whole.values[a:b]) for a, b in ((0, 64), (64, 128), (128, 152))]
        np.testing.assert_allclose(pooled.values, expected, rtol=1e-4, atol=1e-5)


def test_short_track_is_pooled_over_its_own_codes():
    config, _, weights = make_prior(2)
    codes, _ = make_codes(config, 64)
    start = compute_activations(config, weights, codes).values[:40]
    np.testing.assert_allclose(
        compute_activations(config, weights, codes[:40]).values, start, rtol=1e-5, atol=1e-6
    )
    short = compute_activations(config, weights, codes[:40], pooling="mean")
    np.testing.assert_allclose(short.values[0], start.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert (short.begins, short.ends) == ([0], [40])


def test_position_depends_on_the_codes_before_it_only():
    config, _, weights = make_prior(2)
    codes, _ = make_codes(config, 64)
    changed = codes.copy()
    changed[30] = (changed[30] + 1) % 16
    before, after = (
        compute_activations(config, weights, x, layers=[3]).values[:, 0] for x in (codes, changed)
    )
    np.testing.assert_array_equal(before[:31], after[:31])
    assert np.abs(before[31] - after[31]).max() > 1e-4


def test_missing_layer_is_refused():
    config, _, weights = make_prior(2)
    with pytest.raises(ValueError, match=r"layer 4 does not exist: .* to 3"):
        compute_activations(config, weights, np.zeros(64, np.int32), layers=[4])
