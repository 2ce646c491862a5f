"""Selection among candidates by their continuation; bits of codes under a prior."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jukejax.inference.conditioning import (
    Labels,
    TrackCodes,
    fit_length,
    make_window_labels,
    prepare_weights,
)
from jukejax.inference.generate import make_item_keys
from jukejax.inference.score import compute_span_bits
from jukejax.models.prior import Prior
from jukejax.sampling import reroll
from tests.inference.test_generate import COUNTING
from tests.support.small_priors import LYRICS, TOP, UPSAMPLER, VOCAB


@functools.cache
def jit_apply(config):
    return jax.jit(Prior(config).apply)


@functools.cache
def make_random_prior(config, seed=0):
    """Returns params and prepared weights of a prior with different predictions everywhere."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((1, config.seq_len), np.int32)
    upper = labels = None
    if config.upper is not None:
        upper = np.zeros((1, config.seq_len // config.upper.ratio), np.int32)
    if config.labels is not None:
        labels = np.zeros((1, config.label_width), np.int32)
    shapes = jax.eval_shape(Prior(config).init, jax.random.key(0), codes, upper, labels)["params"]
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.3), jnp.float32),
        nn.meta.unbox(shapes),
    )
    return params, prepare_weights(config, params, jnp.float32)


@pytest.mark.parametrize(("length", "begin"), [(8, 3), (24, 14), (24, 2), (24, 23)])
def test_bits_are_those_of_a_teacher_forced_pass_over_one_window(length, begin):
    """An upsampler with labels: a short track, and windows in the middle, at start and end."""
    rng = np.random.default_rng(1)
    params, weights = make_random_prior(UPSAMPLER)
    codes, upper = rng.integers(VOCAB, size=length), rng.integers(VOCAB, size=length // 2)
    item = Labels(1, (2,), 5000)
    start = min(max(begin - 4, 0), max(length - 8, 0)) // 2 * 2
    rows = make_window_labels(UPSAMPLER, [item], start)
    window, above = codes[None, start : start + 8], upper[None, start // 2 : start // 2 + 4]
    logits = jit_apply(UPSAMPLER)({"params": params}, window, above, rows)
    log_probs = scipy.special.log_softmax(logits[0], axis=-1)[np.arange(8), window[0]]
    expected = -log_probs[begin - start :].sum() / np.log(2)
    bits = compute_span_bits(UPSAMPLER, weights, TrackCodes(codes, upper, item), begin)
    assert bits == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", LYRICS)
def test_bits_of_a_model_with_lyrics_count_the_music_only(kind):
    config = LYRICS[kind]
    params, weights = make_random_prior(config)
    codes = np.random.default_rng(2).integers(VOCAB, size=8)
    item = Labels(1, (2,), 4096, lyrics=(1, 2, 3, 4))
    rows = make_window_labels(config, [item], 0)
    logits = jit_apply(config)({"params": params}, codes[None], None, rows)
    places = codes + config.code_shift
    log_probs = scipy.special.log_softmax(logits[0], axis=-1)[np.arange(8), places]
    bits = compute_span_bits(config, weights, TrackCodes(codes, labels=item), 0)
    assert bits == pytest.approx(-log_probs.sum() / np.log(2), rel=1e-5)


def test_candidate_that_the_continuation_follows_is_selected():
    """The counting model predicts each code to be the one before it plus one."""
    continuations = np.array([[5, 6], [1, 2]], np.int32)
    candidates = np.array(
        [[0, 1, 2, 7], [0, 1, 2, 4], [0, 1, 2, 3], [3, 4, 5, 0], [3, 4, 5, 6], [3, 4, 5, 1]],
        np.int32,
    )
    selected = reroll.select_candidates(
        TOP,
        COUNTING,
        candidates=candidates,
        continuations=continuations,
        upper_codes=None,
        labels=[None] * 2,
    )
    np.testing.assert_array_equal(selected, [[0, 1, 2, 4, 5, 6], [3, 4, 5, 0, 1, 2]])


def test_first_candidate_is_selected_without_a_continuation():
    candidates = np.arange(8, dtype=np.int32).reshape(4, 2)
    continuations = np.zeros((2, 0), np.int32)
    selected = reroll.select_candidates(
        TOP,
        COUNTING,
        candidates=candidates,
        continuations=continuations,
        upper_codes=None,
        labels=[None] * 2,
    )
    np.testing.assert_array_equal(selected, candidates[[0, 2]])


def test_candidates_have_other_keys_than_the_track_and_each_other():
    items = make_item_keys(0, range(3), 2)
    keys = reroll.make_candidate_keys(items, 4)
    assert keys.shape == (12,)
    distinct = {tuple(np.asarray(jax.random.key_data(key))) for key in (*items, *keys)}
    assert len(distinct) == 15
    again = reroll.make_candidate_keys(make_item_keys(0, range(2, 3), 2), 4)
    np.testing.assert_array_equal(jax.random.key_data(keys[8:]), jax.random.key_data(again))


def test_padding_behind_a_short_track_does_not_count():
    _, weights = make_random_prior(UPSAMPLER)
    codes, upper = np.arange(6) % VOCAB, np.arange(3)
    item = Labels(1, (2,), 5000)
    short = compute_span_bits(UPSAMPLER, weights, TrackCodes(codes, upper, item), 2)
    padded = TrackCodes(fit_length(codes[None], 8)[0], fit_length(upper[None], 4)[0], item)
    assert 0 < short < compute_span_bits(UPSAMPLER, weights, padded, 2)
