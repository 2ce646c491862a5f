"""Matrices that a bundle stores in float16: read as such by CPUs, which cache in it too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models import decoding
from jukejax.models.autoregressive import OUTPUT_PANELS
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
def test_panels_stay_in_float16_and_decode_the_same_bits(merged_decoder):
    config, half, wide, conditions = make_models(merged_decoder)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    weights, caches = {}, {}
    with set_cpu_kernels(True):
        for params, dtype in ((half, jnp.float16), (wide, jnp.float32)):
            weights[dtype] = prepare(config, params, jnp.float32, platform="cpu")
            assert weights[dtype].dtype == jnp.float32
            assert weights[dtype].outer[OUTPUT_PANELS].dtype == dtype
            assert weights[dtype].layers[0]["mlp_in"]["panels"].dtype == dtype
            assert weights[dtype].layers[0]["mlp_in"]["bias"].dtype == jnp.float32
            caches[dtype], _ = prefill_and_step(config, weights[dtype], codes, conditions)
        decoded = [
            decoding.decode_step(
                config, each, caches[jnp.float32], codes[:, 4], conditions, np.int32(5)
            )
            for each in weights.values()
        ]
    for left, right in zip(*map(jax.tree.leaves, decoded), strict=True):
        np.testing.assert_array_equal(left, right)
    for left, right in zip(*map(jax.tree.leaves, caches.values()), strict=True):
        assert (left.dtype, right.dtype) == (jnp.float16, jnp.float32)
        np.testing.assert_array_equal(left, right.astype(jnp.float16))


@pytest.mark.skipif(not panels.LIBRARY.is_usable(), reason="the kernels for CPUs are not built")
def test_a_cache_in_float16_changes_logits_little():
    config, half, wide, conditions = make_models(merged_decoder=True)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    results = []
    with set_cpu_kernels(True):
        for params, dtype in ((half, jnp.float16), (wide, jnp.float32)):
            weights = prepare(config, params, jnp.float32, platform="cpu")
            _, (logits, caches) = prefill_and_step(config, weights, codes, conditions)
            assert {leaf.dtype for leaf in jax.tree.leaves(caches)} == {jnp.dtype(dtype)}
            results.append(np.asarray(logits))
    assert results[0].dtype == np.float32
    assert 0 < np.abs(results[0] - results[1]).max() < 2e-3 * np.abs(results[1]).max()


@pytest.mark.parametrize(
    ("platform", "dtype"), [("gpu", jnp.float32), ("tpu", jnp.float32), ("cpu", jnp.bfloat16)]
)
def test_other_layouts_and_types_are_cast(platform, dtype):
    config, half, _, _ = make_models(merged_decoder=True)
    weights = jax.eval_shape(lambda: prepare(config, half, dtype, platform=platform))
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype(dtype)}
