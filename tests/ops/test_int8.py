"""Weights in eight bits: what rounding loses, and that models read them as what they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models import decoding
from jukejax.models.autoregressive import OUTPUT_PANELS
from jukejax.ops import decode_weights
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


def restored(values, scale, axis):
    return np.asarray(values, np.float32) * np.expand_dims(scale, axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_off_by_at_most_half_a_step_of_its_channel(axis):
    weights = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    weights *= np.array([1e-3, 1.0, 100.0])[np.arange(48) % 3]
    values, scale = jax.jit(decode_weights.quantize_int8, static_argnums=1)(weights, axis)
    values, scale = np.asarray(values), np.asarray(scale)
    assert values.dtype == jnp.int8
    assert scale.shape == (weights.shape[1 - axis],)
    error = np.abs(restored(np.asarray(values), np.asarray(scale), axis) - weights)
    assert (error <= 0.5001 * np.expand_dims(scale, axis)).all()
    assert np.abs(values).max(axis=axis).tolist() == [127] * len(scale)


def test_a_channel_of_zeros_stays_zero():
    values, scale = decode_weights.quantize_int8(jnp.zeros((4, 3)), 0)
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(scale, 1)


def find_output_scale(tree):
    """Returns the scales of the output weights, of a table of their own or of the embedding."""
    return tree.get("output_scale", tree.get("code_embedding_scale"))


def dequantized(tree):
    """Multiplies out every pair of values and scales of decode weights."""
    if not isinstance(tree, dict):
        return tree
    parts = {}
    for name, part in tree.items():
        if name == "rows" and "scale" in tree:
            scale = np.asarray(tree["scale"]).reshape(part.shape[:-1])
            parts[name] = restored(part, scale, -1)
        elif name == "panels" and "scale" in tree:
            parts[name] = np.asarray(decode_weights.pack_panels(tree["scale"][None])) * part
        elif name == OUTPUT_PANELS and (scale := find_output_scale(tree)) is not None:
            parts[name] = np.asarray(decode_weights.pack_panels(scale[None])) * part
        elif f"{name}_scale" in tree:
            parts[name] = restored(part, tree[f"{name}_scale"], 1)
        elif not name.endswith("scale") or not tree.keys() & {"rows", "panels"}:
            parts[name] = dequantized(part)
    return {name: part for name, part in parts.items() if not name.endswith("_scale")}


prepare = jax.jit(
    decoding.prepare_decode_weights, static_argnames=("config", "dtype", "weights", "platform")
)


@functools.partial(jax.jit, static_argnums=0)
def prefill_and_step(config, weights, codes, conditions):
    """Computes caches after five codes, then the sixth code's logits and the caches after it."""
    caches = decoding.prefill_caches(config, weights, codes, conditions, 5)
    return caches, decoding.decode_step(config, weights, caches, codes[:, 4], conditions, 5)


# Layers of kind 7 (order 12) have the matrices of the others that attend to their own sequence.
@pytest.mark.parametrize(
    ("attn_order", "merged_decoder"),
    [
        (6, True),
        pytest.param(2, False, marks=pytest.mark.slow),
        pytest.param(2, True, marks=pytest.mark.slow),
        pytest.param(6, False, marks=pytest.mark.slow),
        pytest.param(12, False, marks=pytest.mark.slow),
        pytest.param(12, True, marks=pytest.mark.slow),
    ],
)
def test_int8_decodes_as_the_weights_that_it_stands_for(attn_order, merged_decoder):
    config = config_of(attn_order, 16 if attn_order == 12 else 4, merged_decoder=merged_decoder)
    conditions = conditions_of(config, "full")
    params = params_of(config, conditions)
    small = prepare(config, params, jnp.float32, weights="int8")
    wide = decoding.DecodeWeights(dequantized(small.outer), tuple(map(dequantized, small.layers)))
    kinds = {str(leaf.dtype) for layer in small.layers for leaf in jax.tree.leaves(layer["attn"])}
    assert kinds == {"int8", "float32"}
    assert small.outer["code_embedding"].dtype == jnp.int8
    assert small.dtype == jnp.float32

    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    decoded = [prefill_and_step(config, weights, codes, conditions) for weights in (small, wide)]
    for left, right in zip(*map(jax.tree.leaves, decoded), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", [pytest.param("float", marks=pytest.mark.slow), "int8"])
def test_every_layout_of_kernels_gives_the_same(weights, monkeypatch):
    """Whole on TPUs, by rows on GPUs, in groups of rows or in panels on CPUs."""
    monkeypatch.setattr(decode_weights.os, "cpu_count", lambda: 3)  # divides some widths, not all
    config = config_of(6, 4)
    conditions = conditions_of(config, "full")
    params = params_of(config, conditions)
    codes = np.random.default_rng(1).integers(VOCAB, size=(BATCH, SEQ_LEN)).astype(np.int32)
    decoded = []
    layouts = [("tpu", "kernel", 2), ("gpu", "rows", 2), ("cpu", "rows", 3)]
    layouts += [("cpu", "panels", 3)] if panels.LIBRARY.is_usable() else []
    for platform, name, axes in layouts:
        with set_cpu_kernels(name == "panels"):
            laid_out = prepare(config, params, jnp.float32, weights, platform)
            decoded.append(prefill_and_step(config, laid_out, codes, conditions))
        assert laid_out.layers[0]["attn"]["query_key_value"][name].ndim == axes
    for other in decoded[1:]:
        for left, right in zip(*map(jax.tree.leaves, (decoded[0], other)), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_unknown_weights_are_named():
    config = config_of()
    with pytest.raises(ValueError, match="weights are 'int4'; known: float, int8"):
        decoding.prepare_decode_weights(config, {}, jnp.float32, weights="int4")
