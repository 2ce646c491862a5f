"""Choosing among candidates by what follows them; how likely a prior finds what is there."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference.generate import Labels, fit, item_keys, prior_weights, window_labels
from jukejax.inference.score import span_bits
from jukejax.models.prior import Prior
from jukejax.sampling import reroll
from tests.inference.test_generate import COUNTING
from tests.support.small_priors import LYRICS, TOP, UPSAMPLER, VOCAB


def random_prior(config, seed=0):
    """(params, weights) of a prior that predicts something else at every place."""
    rng = np.random.default_rng(seed)
    codes = jnp.zeros((1, config.seq_len), jnp.int32)
    upper = labels = None
    if config.upper is not None:
        upper = jnp.zeros((1, config.seq_len // config.upper.ratio), jnp.int32)
    if config.labels is not None:
        labels = jnp.zeros((1, config.label_width), jnp.int32)
    shapes = jax.eval_shape(Prior(config).init, jax.random.key(0), codes, upper, labels)["params"]
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.3), jnp.float32),
        nn.meta.unbox(shapes),
    )
    return params, prior_weights(config, params, jnp.float32)


@pytest.mark.parametrize(("length", "begin"), [(8, 3), (24, 14), (24, 2), (24, 23)])
def test_bits_are_those_of_the_teacher_forced_pass_over_one_window(length, begin):
    """Of an upsampler with labels: short track, and windows in the middle, at start and end."""
    rng = np.random.default_rng(1)
    params, weights = random_prior(UPSAMPLER)
    codes, upper = rng.integers(VOCAB, size=length), rng.integers(VOCAB, size=length // 2)
    item = Labels(1, (2,), 5000)
    start = min(max(begin - 4, 0), max(length - 8, 0)) // 2 * 2
    rows = window_labels(UPSAMPLER, [item], start)
    window, above = codes[None, start : start + 8], upper[None, start // 2 : start // 2 + 4]
    logits = Prior(UPSAMPLER).apply({"params": params}, window, above, rows)
    log_probs = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(8), window[0]]
    expected = -log_probs[begin - start :].sum() / np.log(2)
    found = span_bits(UPSAMPLER, weights, codes, begin=begin, upper=upper, labels=item)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", LYRICS)
def test_bits_of_a_model_with_lyrics_count_the_music_only(kind):
    config = LYRICS[kind]
    params, weights = random_prior(config)
    codes = np.random.default_rng(2).integers(VOCAB, size=8)
    item = Labels(1, (2,), 4096, lyrics=(1, 2, 3, 4))
    rows = window_labels(config, [item], 0)
    logits = Prior(config).apply({"params": params}, codes[None], None, rows)
    places = codes + config.code_shift
    log_probs = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(8), places]
    found = span_bits(config, weights, codes, begin=0, upper=None, labels=item)
    assert found == pytest.approx(-log_probs.sum() / np.log(2), rel=1e-5)


def test_the_candidate_counts_that_the_right_side_goes_on_from():
    """The counting model expects each code to be the one before it plus one."""
    kept = np.array([[5, 6], [1, 2]], np.int32)
    drawn = np.array(
        [[0, 1, 2, 7], [0, 1, 2, 4], [0, 1, 2, 3], [3, 4, 5, 0], [3, 4, 5, 6], [3, 4, 5, 1]],
        np.int32,
    )
    found = reroll.choose(TOP, COUNTING, drawn=drawn, kept=kept, upper=None, labels=[None] * 2)
    np.testing.assert_array_equal(found, [[0, 1, 2, 4, 5, 6], [3, 4, 5, 0, 1, 2]])


def test_without_a_right_side_the_first_candidate_counts():
    drawn = np.arange(8, dtype=np.int32).reshape(4, 2)
    kept = np.zeros((2, 0), np.int32)
    found = reroll.choose(TOP, COUNTING, drawn=drawn, kept=kept, upper=None, labels=[None] * 2)
    np.testing.assert_array_equal(found, drawn[[0, 2]])


def test_candidates_draw_with_other_noise_than_the_track_and_each_other():
    items = item_keys(0, range(3), 2)
    keys = reroll.candidate_keys(items, 4)
    assert keys.shape == (12,)
    drawn = {tuple(np.asarray(jax.random.key_data(key))) for key in (*items, *keys)}
    assert len(drawn) == 15
    again = reroll.candidate_keys(item_keys(0, range(2, 3), 2), 4)
    np.testing.assert_array_equal(jax.random.key_data(keys[8:]), jax.random.key_data(again))


def test_a_short_window_is_padded_behind_the_track():
    """What stands behind the track's end changes nothing."""
    _, weights = random_prior(UPSAMPLER)
    codes, upper = np.arange(6) % VOCAB, np.arange(3)
    item = Labels(1, (2,), 5000)
    short = span_bits(UPSAMPLER, weights, codes, begin=2, upper=upper, labels=item)
    padded = fit(codes[None], 8)[0]
    whole = span_bits(
        UPSAMPLER, weights, padded, begin=2, upper=fit(upper[None], 4)[0], labels=item
    )
    assert 0 < short < whole
