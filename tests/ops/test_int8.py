"""Weights in eight bits: what rounding loses, and that models read them as what they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models import decoding
from jukejax.ops import decode_weights
from tests.models.test_autoregressive import (
    BATCH,
    SEQ_LEN,
    VOCAB,
    conditions_of,
    config_of,
    params_of,
)


def restored(values, scale, axis):
    return values.astype(np.float32) * np.expand_dims(scale, axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_off_by_at_most_half_a_step_of_its_channel(axis):
    weights = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    weights *= np.array([1e-3, 1.0, 100.0])[np.arange(48) % 3]
    values, scale = decode_weights.quantize_int8(jnp.asarray(weights), axis)
    assert values.dtype == jnp.int8
    assert scale.shape == (weights.shape[1 - axis],)
    error = np.abs(restored(np.asarray(values), np.asarray(scale), axis) - weights)
    assert (error <= 0.5001 * np.expand_dims(scale, axis)).all()
    assert np.abs(values).max(axis=axis).tolist() == [127] * len(scale)


def test_a_channel_of_zeros_stays_zero():
    values, scale = decode_weights.quantize_int8(jnp.zeros((4, 3)), 0)
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(scale, 1)


def dequantized(tree):
    """The decode weights with every pair of values and scales multiplied out."""
    if not isinstance(tree, dict):
        return tree
    found = {}
    for name, part in tree.items():
        if name == "rows" and "scale" in tree:
            scale = np.asarray(tree["scale"]).reshape(part.shape[:-1])
            found[name] = restored(part, scale, -1)
        elif f"{name}_scale" in tree:
            found[name] = restored(part, tree[f"{name}_scale"], 1)
        elif not name.endswith("scale") or "rows" not in tree:
            found[name] = dequantized(part)
    return {name: part for name, part in found.items() if not name.endswith("_scale")}


@pytest.mark.parametrize("attn_order", [2, 6, 12])
@pytest.mark.parametrize("merged_decoder", [False, True])
def test_int8_decodes_as_the_weights_that_it_stands_for(attn_order, merged_decoder):
    config = config_of(attn_order, 16 if attn_order == 12 else 4, merged_decoder=merged_decoder)
    conditions = conditions_of(config, "full")
    params = params_of(config, conditions)
    small = decoding.prepare_decode_weights(config, params, jnp.float32, weights="int8")
    wide = decoding.DecodeWeights(dequantized(small.outer), tuple(map(dequantized, small.layers)))
    kinds = {str(leaf.dtype) for layer in small.layers for leaf in jax.tree.leaves(layer["attn"])}
    assert kinds == {"int8", "float32"}
    assert small.outer["code_embedding"].dtype == jnp.int8
    assert small.dtype == jnp.float32

    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    run = jax.jit(decoding.prefill_caches, static_argnums=0)
    step = jax.jit(decoding.decode_step, static_argnums=0)
    drawn = []
    for weights in (small, wide):
        caches = run(config, weights, codes, conditions, jnp.int32(5))
        drawn.append(step(config, weights, caches, codes[:, 4], conditions, jnp.int32(5)))
    for left, right in zip(*map(jax.tree.leaves, drawn), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["float", "int8"])
def test_every_layout_of_kernels_gives_the_same(weights, monkeypatch):
    """Whole on TPUs, by rows on GPUs, in groups of rows on CPUs: windows, steps and logits."""
    monkeypatch.setattr(decode_weights.os, "cpu_count", lambda: 3)  # divides some widths, not all
    config = config_of(6, 4)
    conditions = conditions_of(config, "full")
    params = params_of(config, conditions)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    run, step = (
        jax.jit(f, static_argnums=0) for f in (decoding.prefill_caches, decoding.decode_step)
    )
    found = []
    for platform, name, axes in (("tpu", "kernel", 2), ("gpu", "rows", 2), ("cpu", "rows", 3)):
        told = decoding.prepare_decode_weights(config, params, jnp.float32, weights, platform)
        assert told.layers[0]["attn"]["query_key_value"][name].ndim == axes
        caches = run(config, told, codes, conditions, jnp.int32(5))
        after = step(config, told, caches, codes[:, 4], conditions, jnp.int32(5))
        found.append((caches, after))
    for other in found[1:]:
        for left, right in zip(*map(jax.tree.leaves, (found[0], other)), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_unknown_weights_are_named():
    config = config_of()
    with pytest.raises(ValueError, match="weights are 'int4'; known: float, int8"):
        decoding.prepare_decode_weights(config, {}, jnp.float32, weights="int4")
