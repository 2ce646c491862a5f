"""Activations against the model's own logits, and windows against one window."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference import activations, generate
from jukejax.models.prior import Prior
from tests.support import small_bundle

LABELS = generate.Labels(artist=1, genres=(1,), total_samples=100_000)


def prior(level, lyrics="none"):
    """(config, parameters, weights to decode with) of a level."""
    config = small_bundle.configs(lyrics)[f"level_{level}"]
    params = small_bundle.random_weights(config)["params"]
    return config, params, generate.prior_weights(config, params, jnp.float32)


def codes_of(config, count, seed=0):
    random = np.random.default_rng(seed)
    ratio = 1 if config.upper is None else config.upper.ratio
    upper = None if config.upper is None else random.integers(0, 16, count // ratio)
    return random.integers(0, 16, count), upper


def hear(config, weights, codes, upper=None, **more):
    asked = {"layers": [0, 2, 3], "pooling": "none", "window_hop": 64, "labels": LABELS}
    return activations.track_activations(config, weights, codes, upper=upper, **asked | more)


@pytest.mark.parametrize(
    ("level", "lyrics"), [(1, "none"), pytest.param(2, "separate", marks=pytest.mark.slow)]
)
def test_the_last_layer_is_what_the_logits_are_made_of(level, lyrics):
    config, params, weights = prior(level, lyrics)
    depth = config.transformer.num_layers
    codes, upper = codes_of(config, 64)
    found = hear(config, weights, codes, upper, layers=[depth]).values[:, 0]
    rows = generate.window_labels(config, [LABELS], 0)
    told = {"labels": rows} | ({"upper_codes": upper[None]} if upper is not None else {})
    expected = Prior(config).apply({"params": params}, codes[None], **told)[0]
    conditions = generate.condition(
        config, weights, None if upper is None else jnp.asarray(upper[None]), jnp.asarray(rows)
    )
    model = Prior(config).bind({"params": params}).autoregressive
    cond = None if conditions.code_cond is None else conditions.code_cond[0]
    logits = model.predict(jnp.asarray(found), cond)
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4)


def test_layers_follow_each_other_as_blocks():
    config, params, weights = prior(2)
    codes, _ = codes_of(config, 64)
    found = hear(config, weights, codes, layers=[0, 1, 2, 3]).values
    stack = params["autoregressive"]["transformer"]
    for layer in range(3):
        one = dataclasses.replace(config.transformer, num_layers=1)
        kind = config.transformer.pattern[layer]
        from jukejax.models.block import Block

        block = Block(one, kind, parent=None)
        own = jax.tree.map(lambda leaf, i=layer: leaf[i], stack["self_layers"])
        expected = block.apply({"params": own}, found[None, :, layer])[0]
        np.testing.assert_allclose(found[:, layer + 1], expected, rtol=1e-4, atol=1e-5)


def test_poolings_are_of_the_same_activations():
    config, _, weights = prior(1)
    codes, upper = codes_of(config, 152)  # two windows, and one that is moved back
    whole = hear(config, weights, codes, upper)
    assert whole.values.shape == (152, 3, 16)
    np.testing.assert_array_equal(whole.begins, np.arange(152))
    for pooling, pool in (
        ("mean", lambda x: x.mean(axis=0)),
        ("max", lambda x: x.max(axis=0)),
        ("last", lambda x: x[-1]),
    ):
        found = hear(config, weights, codes, upper, pooling=pooling, batch_size=2)
        np.testing.assert_array_equal(found.begins, [0, 64, 128])
        np.testing.assert_array_equal(found.ends, [64, 128, 152])
        expected = [pool(whole.values[a:b]) for a, b in ((0, 64), (64, 128), (128, 152))]
        np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


def test_a_short_track_is_pooled_over_its_own_codes():
    config, _, weights = prior(2)
    codes, _ = codes_of(config, 64)
    start = hear(config, weights, codes).values[:40]
    np.testing.assert_allclose(
        hear(config, weights, codes[:40]).values, start, rtol=1e-5, atol=1e-6
    )
    short = hear(config, weights, codes[:40], pooling="mean")
    np.testing.assert_allclose(short.values[0], start.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert (short.begins, short.ends) == ([0], [40])


def test_a_position_has_heard_the_codes_before_it_only():
    config, _, weights = prior(2)
    codes, _ = codes_of(config, 64)
    changed = codes.copy()
    changed[30] = (changed[30] + 1) % 16
    before, after = (hear(config, weights, x, layers=[3]).values[:, 0] for x in (codes, changed))
    np.testing.assert_array_equal(before[:31], after[:31])
    assert np.abs(before[31] - after[31]).max() > 1e-4


def test_a_layer_that_is_not_there_is_named():
    config, _, weights = prior(2)
    with pytest.raises(ValueError, match=r"layer 4 does not exist: .* to 3"):
        hear(config, weights, np.zeros(64, np.int32), layers=[4])
