"""Whole priors: their size, what they are told, their loss."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.conditioners import CodeConditionerConfig, LabelConfig
from jukejax.models.prior import Prior, PriorConfig, bits_per_code
from jukejax.models.transformer import TransformerConfig

STACK = TransformerConfig(emb_dim=8, num_layers=3, num_heads=1, seq_len=8, num_blocks=2)
UPPER = CodeConditionerConfig(vocab_size=5, downs=1, stride=2, width=4, depth=1)
LABELS = LabelConfig(num_artists=3, num_genres=4)
TOP = PriorConfig(2, 5, 128, STACK)


def shapes_of(config):
    codes = jnp.zeros((1, config.seq_len), jnp.int32)
    told = {}
    if config.upper is not None:
        told["upper_codes"] = jnp.zeros((1, config.seq_len // config.upper.ratio), jnp.int32)
    if config.labels is not None:
        told["labels"] = jnp.zeros((1, 4 + config.labels.max_genres), jnp.int32)
    init = jax.eval_shape(lambda key: Prior(config).init(key, codes, **told), jax.random.key(0))
    return nn.meta.unbox(init)["params"]


def stack(width, depth, heads, blocks, attn_order=2, seq_len=8192):
    return TransformerConfig(width, depth, heads, seq_len, blocks, attn_order)


RELEASED_UPPER = CodeConditionerConfig(vocab_size=2048, downs=2, stride=2, m_conv=1.0)
V2 = LabelConfig(num_artists=4111, num_genres=120, max_genres=5, timing_bins=128)
# Parameters as in design.md.
RELEASED = {
    "small_prior": (PriorConfig(2, 2048, 128, stack(1024, 48, 1, 64)), 161_862_656),
    "upsampler": (
        PriorConfig(0, 2048, 8, stack(1920, 72, 1, 128), upper=RELEASED_UPPER, labels=V2),
        981_298_176,
    ),
    "prior_5b": (
        PriorConfig(2, 2048, 128, stack(4800, 72, 8, 128), labels=V2, merged_decoder=True),
        5_060_452_800,
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_have_as_many_parameters_as_openai_says(name):
    config, count = RELEASED[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(config))) == count


def test_timing_is_told_at_the_top_level_only():
    top = shapes_of(dataclasses.replace(TOP, labels=LABELS))["label_conditioner"]
    below = shapes_of(dataclasses.replace(TOP, upper=UPPER, labels=LABELS))["label_conditioner"]
    assert set(top) == {"artist", "genre", "total", "absolute", "relative"}
    assert set(below) == {"artist", "genre"}


def test_upper_codes_and_labels_reach_the_logits():
    config = dataclasses.replace(TOP, upper=UPPER, labels=LABELS)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.3), jnp.float32),
        shapes_of(config),
    )
    codes, upper = np.zeros((1, 8), np.int32), np.zeros((1, 4), np.int32)
    labels = np.array([[5000, 0, 1024, 1, 2]], np.int32)
    apply = jax.jit(lambda *inputs: Prior(config).apply({"params": params}, *inputs))
    plain = apply(codes, upper, labels)
    assert plain.shape == (1, 8, 5)
    assert np.abs(plain - apply(codes, upper + 1, labels)).max(axis=-1).min() > 1e-4
    for column in (3, 4):  # artist and genre take the start slot; every position can see it
        other = labels.copy()
        other[0, column] -= 1
        assert np.abs(plain - apply(codes, upper, other)).max() > 1e-4


def test_bits_per_code_of_certainty_chance_and_error():
    codes = jnp.array([[0, 3, 2]])
    sure = 100.0 * jax.nn.one_hot(codes, 8)
    np.testing.assert_allclose(bits_per_code(sure, codes), 0.0, atol=1e-6)
    np.testing.assert_allclose(bits_per_code(jnp.zeros((1, 3, 8)), codes), 3.0, rtol=1e-6)
    half = jnp.log(jnp.array([[[0.5, 0.25, 0.125, 0.125]]]))
    np.testing.assert_allclose(bits_per_code(half, jnp.array([[1]])), 2.0, rtol=1e-6)


def test_a_window_that_does_not_hold_whole_upper_codes_is_refused():
    odd = dataclasses.replace(UPPER, downs=2)
    with pytest.raises(ValueError, match="seq_len 6 is no multiple of 4, the codes of level 1"):
        PriorConfig(1, 5, 32, dataclasses.replace(STACK, seq_len=6), upper=odd)


def test_a_window_knows_its_length_in_samples():
    assert TOP.sample_length == 8 * 128
