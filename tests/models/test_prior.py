"""Whole priors: their size, the conditions that reach them, their windows."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.weights.part_configs import find_prior_shapes
from tests.support.conditioned_priors import LABELS, STACK, TOP

UPPER = CodeConditionerConfig(vocab_size=5, downs=1, stride=2, width=4, depth=1)


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
    "prior_1b_lyrics": (
        PriorConfig(
            2,
            2048,
            128,
            stack(2048, 72, 2, 64, 12, 6144),
            labels=LabelConfig(num_artists=7898, num_genres=604, timing_bins=64),
            lyrics=LyricsConfig("single", 384, 79),
        ),
        942_643_200,
    ),
    "prior_5b_lyrics": (
        PriorConfig(
            2,
            2048,
            128,
            stack(4800, 79, 8, 128, 10),
            labels=V2,
            lyrics=LyricsConfig("separate", 512, 80, encoder=stack(1280, 18, 4, 32, 2, 512)),
            merged_decoder=True,
        ),
        5_640_506_800,
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("small_prior", marks=pytest.mark.slow),
        "upsampler",
        pytest.param("prior_5b", marks=pytest.mark.slow),
        "prior_1b_lyrics",
        "prior_5b_lyrics",
    ],
)
def test_released_models_have_as_many_parameters_as_openai_says(name):
    config, count = RELEASED[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(find_prior_shapes(config))) == count


def test_timing_is_told_at_the_top_level_only():
    top = find_prior_shapes(dataclasses.replace(TOP, labels=LABELS))["label_conditioner"]
    below = find_prior_shapes(dataclasses.replace(TOP, upper=UPPER, labels=LABELS))[
        "label_conditioner"
    ]
    assert set(top) == {"artist", "genre", "total", "absolute", "relative"}
    assert set(below) == {"artist", "genre"}


def test_upper_codes_and_labels_reach_the_logits():
    config = dataclasses.replace(TOP, upper=UPPER, labels=LABELS)
    rng = np.random.default_rng(0)
    params = jax.device_put(
        jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
            find_prior_shapes(config),
        )
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


def test_a_window_that_does_not_hold_whole_upper_codes_is_refused():
    odd = dataclasses.replace(UPPER, downs=2)
    with pytest.raises(ValueError, match="seq_len 6 is no multiple of 4, the codes of level 1"):
        PriorConfig(1, 5, 32, dataclasses.replace(STACK, seq_len=6), upper=odd)


def test_a_window_knows_its_length_in_samples():
    assert TOP.sample_length == 8 * 128


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ((1.0, 0.5), "turn_temperatures has 2 numbers, and labels.turns is 3"),
        ((1.0, 0.5, 0.0), "turn_temperatures is .*, must be positive"),
        ((1.0, 0.5, math.inf), "must be positive"),
    ],
)
def test_temperatures_of_turns_that_do_not_fit_are_refused(factors, message):
    labels = dataclasses.replace(LABELS, turns=3)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TOP, labels=labels, turn_temperatures=factors)
