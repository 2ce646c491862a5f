"""Matrices that a bundle stores in float16: read as such by CPUs, which cache in it too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.autoregressive import OUTPUT_PANELS
from jukejax.models.decoding import DecodeWeights
from jukejax.ops.cpu import panels
from jukejax.ops.cpu.switch import set_cpu_kernels
from tests.models.test_autoregressive import (
    BATCH,
    SEQ_LEN,
    VOCAB,
    conditions_of,
    config_of,
    params_of,
)
from tests.ops.test_int8 import prefill_and_step, prepare


def make_models(merged_decoder):
    """Returns the config, parameters in float16, the same in float32, and conditions."""
    config = config_of(6, 4, merged_decoder=merged_decoder)
    conditions = conditions_of(config, "full")
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params_of(config, conditions))
    return config, half, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half), conditions


@pytest.mark.skipif(not panels.LIBRARY.is_usable(), reason="the kernels for CPUs are not built")
@pytest.mark.parametrize("merged_decoder", [False, True])
def test_panels_stay_in_float16_and_decode_the_same_bits(merged_decoder, monkeypatch):
    monkeypatch.setattr(DecodeWeights, "cache_dtype", property(lambda weights: weights.dtype))
    config, half, wide, conditions = make_models(merged_decoder)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    decoded = []
    with set_cpu_kernels(True):
        for params, dtype in ((half, jnp.float16), (wide, jnp.float32)):
            weights = prepare(config, params, jnp.float32, platform="cpu")
            assert weights.dtype == jnp.float32
            assert weights.outer[OUTPUT_PANELS].dtype == dtype
            assert weights.layers[0]["mlp_in"]["panels"].dtype == dtype
            assert weights.layers[0]["mlp_in"]["bias"].dtype == jnp.float32
            decoded.append(prefill_and_step(config, weights, codes, conditions))
    for left, right in zip(*map(jax.tree.leaves, decoded), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.skipif(not panels.LIBRARY.is_usable(), reason="the kernels for CPUs are not built")
def test_keys_and_values_are_cached_in_float16_beside_such_panels():
    config, half, wide, conditions = make_models(merged_decoder=True)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    with set_cpu_kernels(True):
        weights = prepare(config, half, jnp.float32, platform="cpu")
        _, (logits, caches) = prefill_and_step(config, weights, codes, conditions)
        assert {leaf.dtype for leaf in jax.tree.leaves(caches)} == {jnp.dtype(jnp.float16)}
        weights = prepare(config, wide, jnp.float32, platform="cpu")
        _, (expected, caches) = prefill_and_step(config, weights, codes, conditions)
        assert {leaf.dtype for leaf in jax.tree.leaves(caches)} == {jnp.dtype(jnp.float32)}
    assert logits.dtype == jnp.float32
    difference = np.abs(logits - expected).max()
    assert 0 < difference < 2e-3 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("platform", "dtype"), [("gpu", jnp.float32), ("tpu", jnp.float32), ("cpu", jnp.bfloat16)]
)
def test_other_layouts_and_types_are_cast(platform, dtype):
    config, half, _, _ = make_models(merged_decoder=True)
    weights = jax.eval_shape(lambda: prepare(config, half, dtype, platform=platform))
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype(dtype)}
