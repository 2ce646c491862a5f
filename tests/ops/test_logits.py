"""Temperature, top-k, top-p, min-p and the sampled distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import logits as ops

filter_logits = jax.jit(ops.filter_logits, static_argnames=("top_k", "top_p"))
sample_from_logits = jax.jit(ops.sample_from_logits, static_argnames=("top_k", "top_p", "min_p"))
LOGITS = jnp.log(jnp.array([[0.1, 0.4, 0.05, 0.3, 0.15]]))


def kept(logits, **options):
    return np.flatnonzero(np.isfinite(filter_logits(logits, **options)[0])).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 3, 4]),
        ({"top_k": 5}, [0, 1, 2, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.01}, [1]),  # always the first
        ({"top_p": 0.5}, [1, 3]),
        ({"top_p": 0.75}, [1, 3, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 2, "top_p": 0.5}, [1]),  # of the two that are left, 4 : 3
    ],
    ids=str,
)
def test_filters_keep_the_codes_worked_out_by_hand(options, expected):
    assert kept(LOGITS, **options) == expected


def test_filters_do_not_touch_what_they_keep():
    filtered = filter_logits(LOGITS, top_k=3, top_p=0.9)
    alive = np.isfinite(filtered)
    np.testing.assert_array_equal(filtered[alive], LOGITS[alive])


def test_ties_with_the_last_of_the_top_k_stay():
    assert kept(jnp.array([[1.0, 3.0, 2.0, 2.0, 0.0]]), top_k=2) == [1, 2, 3]


@pytest.mark.parametrize(
    ("min_p", "expected"), [(0.01, [0, 1, 2, 3, 4]), (0.3, [1, 3, 4]), (0.7, [1, 3]), (1.0, [1])]
)
def test_min_p_keeps_codes_by_their_share_of_the_likeliest(min_p, expected):
    likely = ops.keep_likely(LOGITS, min_p)
    assert np.flatnonzero(np.isfinite(likely[0])).tolist() == expected
    np.testing.assert_array_equal(likely[0, expected], LOGITS[0, expected])


def test_min_p_is_a_filter_of_the_probabilities_before_the_temperature(key):
    noise = jax.random.gumbel(key(), (4_000, 5))
    logits = jnp.broadcast_to(LOGITS, noise.shape)
    codes = sample_from_logits(logits, noise, temperature=jnp.float32(9.0), min_p=0.3)
    assert np.unique(codes).tolist() == [1, 3, 4]


def test_filters_work_on_every_leading_axis(key):
    logits = jax.random.normal(key(), (3, 4, 7))
    together = filter_logits(logits, top_p=0.6)
    apart = [filter_logits(row[None], top_p=0.6)[0] for row in logits.reshape(12, 7)]
    np.testing.assert_array_equal(together.reshape(12, 7), np.stack(apart))


def test_top_k_of_one_is_greedy_whatever_the_noise(key):
    logits = jax.random.normal(key(), (64, 9))
    noise = 10 * jax.random.gumbel(key(), (64, 9))
    greedy = sample_from_logits(logits, noise, temperature=jnp.float32(0.0), top_k=0, top_p=0.0)
    top_one = sample_from_logits(logits, noise, temperature=jnp.float32(1.0), top_k=1, top_p=0.0)
    np.testing.assert_array_equal(greedy, jnp.argmax(logits, axis=-1))
    np.testing.assert_array_equal(top_one, greedy)
    assert greedy.dtype == jnp.int32


@pytest.mark.parametrize(
    ("temperature", "options"),
    [(1.0, {}), (0.5, {}), (1.7, {"top_k": 3}), (0.9, {"top_p": 0.8})],
    ids=str,
)
def test_draws_are_distributed_as_the_filtered_softmax(key, temperature, options):
    options = {"top_k": 0, "top_p": 0.0, **options}
    count = 40_000
    noise = jax.random.gumbel(key(), (count, 5))
    logits = jnp.broadcast_to(LOGITS, (count, 5))
    codes = sample_from_logits(logits, noise, temperature=jnp.float32(temperature), **options)
    shares = np.bincount(codes, minlength=5) / count
    expected = jax.nn.softmax(filter_logits(LOGITS / temperature, **options))[0]
    # four standard deviations of a share
    assert np.abs(shares - expected).max() < 4 * np.sqrt(0.25 / count)
    np.testing.assert_array_equal(shares[np.asarray(expected) == 0], 0)


def test_the_first_of_equals_is_the_largest():
    rows = jnp.array([[1.0, 3.0, 3.0], [-jnp.inf, -jnp.inf, 0.0], [2.0, 2.0, 2.0], [5.0, 1.0, 5.0]])
    found = ops.find_argmax(rows)
    np.testing.assert_array_equal(found, jnp.argmax(rows, axis=-1))
    assert found.dtype == jnp.int32
