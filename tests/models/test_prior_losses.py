"""The losses of a prior, and the codes that training hides from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.prior import Predictions, Prior
from jukejax.models.prior_losses import compute_bits_per_code, compute_losses, draw_hidden_codes
from tests.support.conditioned_priors import LABELS, SEPARATE, TOP


def test_bits_per_code_of_certainty_chance_and_error():
    compute_bits, codes = jax.jit(compute_bits_per_code), np.array([[0, 3, 2]])
    sure = np.float32(100.0 * np.eye(8)[codes])
    np.testing.assert_allclose(compute_bits(sure, codes), 0.0, atol=1e-6)
    np.testing.assert_allclose(compute_bits(0 * sure, codes), 3.0, rtol=1e-6)
    half = np.float32(np.log([[[0.5, 0.25, 0.125, 0.125]]]))
    np.testing.assert_allclose(compute_bits(half, np.array([[1]])), 2.0, rtol=1e-6)


def test_the_loss_weighs_letters_by_their_number_and_their_fraction():
    """3 bits a code of 8, 1 bit a letter of 3, fraction 0.4."""
    half = np.float32(np.log([1e-30, 0.5, 0.5, 1e-30]))
    lyrics = np.broadcast_to(half, (1, 3, 4))
    predictions = Predictions(codes=np.zeros((1, 8, 8), np.float32), lyrics=lyrics)
    labels = np.array([[5000, 0, 1024, 1, 2, 1, 2, 1]])
    compute = jax.jit(compute_losses, static_argnums=0)
    loss, parts = compute(SEPARATE, predictions, np.zeros((1, 8), np.int32), labels)
    np.testing.assert_allclose(parts["bits_per_code"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(parts["bits_per_letter"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(loss, (8 * 3.0 + 0.4 * 3 * 1.0) / 11, rtol=1e-6)


def hide_codes(config, labels, windows=4000):
    """Returns the hidden codes of many windows."""
    return np.asarray(draw_hidden_codes(config, labels, windows, jax.random.key(0)))


def test_hidden_codes_are_those_before_a_random_position():
    config = dataclasses.replace(TOP, context_dropout=0.4)
    hidden = hide_codes(config, None)
    assert not np.any(~hidden[:, :-1] & hidden[:, 1:])  # none after one that is not hidden
    # Of the hidden windows a ninth has no hidden code: ends are 0 to 8.
    assert hidden.any(axis=1).mean() == pytest.approx(0.4 * 8 / 9, abs=0.03)
    assert hidden.mean() == pytest.approx(0.4 * 0.5, abs=0.02)


def test_codes_of_a_turn_are_hidden_together():
    labels = dataclasses.replace(LABELS, turns=2)
    config = dataclasses.replace(TOP, labels=labels, context_dropout=0.5)
    vectors = jnp.zeros((4000, config.label_width), jnp.int32)
    hidden = hide_codes(config, vectors)
    even, odd = hidden[:, ::2], hidden[:, 1::2]
    for turn in (even, odd):
        assert not np.any(~turn[:, :-1] & turn[:, 1:])
    only_one = even.any(axis=1) != odd.any(axis=1)
    assert 0.1 < only_one.mean() < 0.3


def test_hidden_codes_do_not_affect_any_prediction():
    config = dataclasses.replace(TOP, lookback=(2, 3))
    model, codes = Prior(config), jnp.asarray([[0, 1, 2, 3, 4, 3, 2, 1]])
    variables = model.init(jax.random.key(0), codes)
    hidden = jnp.arange(8)[None] < 4

    def predict(codes, hidden):
        return model.apply(variables, codes, hidden=hidden, method=model.compute_predictions).codes

    other = codes.at[:, :4].set(0)
    np.testing.assert_array_equal(predict(codes, hidden), predict(other, hidden))
    assert np.any(predict(codes, None) != predict(other, None))
    np.testing.assert_array_equal(predict(codes, jnp.zeros((1, 8), bool)), predict(codes, None))
