"""The codebook against plain NumPy loops, its draws, and its independence of sharding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import quantize
from jukejax.ops.cpu.scatter import scatter_sums
from jukejax.ops.quantize import Codebook, Draw


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_codes(low, high, size):
    return np.random.default_rng(size).integers(low, high, size).astype(np.int32)


@pytest.fixture
def state():
    """Eight codes of three features, some little used."""
    counts = np.array([3.0, 0.2, 1.001, 8.0, 0.0, 1.5, 2.0, 0.9], np.float32)
    vectors = normal(9, 8, 3)
    return Codebook(vectors, vectors * counts[:, None], counts, np.ones((), bool))


@pytest.mark.parametrize("length", [1, pytest.param(50, marks=pytest.mark.slow), 1024, 2500])
def test_nearest_equals_brute_force(length):
    x, codebook = normal(0, 2, length, 4), normal(1, 32, 4)
    codes, distance = jax.jit(quantize.find_nearest)(x, codebook)
    gaps = np.asarray(x, np.float64)[:, :, None] - np.asarray(codebook, np.float64)
    slow = np.square(gaps).sum(axis=-1)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, slow.argmin(axis=-1))
    np.testing.assert_allclose(distance, slow.min(axis=-1), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_codes_wins_and_nan_stays_in_range():
    codebook = jnp.array([[5.0], [1.0], [1.0], [-1.0]])
    codes, _ = jax.jit(quantize.find_nearest)(jnp.array([[[1.0], [0.0], [jnp.nan]]]), codebook)
    np.testing.assert_array_equal(codes[0, :2], [1, 1])
    assert 0 <= codes[0, 2] < 4


def test_gradients_pass_straight_through_and_commit_pulls():
    codebook, x, cotangent = normal(0, 8, 3), normal(1, 2, 5, 3), normal(2, 2, 5, 3)

    @jax.jit
    def differentiate(x, codebook):
        result = quantize.quantize_vectors(x, codebook)
        through = jax.grad(
            lambda x: jnp.sum(quantize.quantize_vectors(x, codebook).vectors * cotangent)
        )(x)
        pull = jax.grad(lambda x: quantize.quantize_vectors(x, codebook).commitment_loss)(x)
        nothing = jax.grad(lambda c: jnp.sum(quantize.quantize_vectors(x, c).vectors))(codebook)
        return result, through, pull, nothing

    result, through, pull, nothing = jax.device_get(differentiate(x, codebook))
    np.testing.assert_allclose(result.vectors, codebook[result.codes], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(through, cotangent)
    np.testing.assert_allclose(pull, 2 * (x - codebook[result.codes]) / x.size, rtol=1e-5)
    np.testing.assert_array_equal(nothing, np.zeros_like(codebook))


def test_totals_are_the_same_by_scatter_and_by_product():
    x, codes = normal(0, 50, 3), random_codes(0, 8, 50)
    for ours in (scatter_sums, quantize._multiply_one_hot):
        sums, counts = jax.device_get(
            jax.jit(ours, static_argnames="num_codes")(x, codes, num_codes=9)
        )
        for code in range(9):
            chosen = x[codes == code]
            np.testing.assert_allclose(sums[code], chosen.sum(axis=0), rtol=1e-5, atol=1e-6)
            assert counts[code] == len(chosen)


def update(*inputs, **settings):
    return jax.device_get(jax.jit(functools.partial(quantize.update_codebook, **settings))(*inputs))


def test_update_equals_a_loop_and_restarts_dead_codes(state):
    x, codes, fresh = normal(0, 40, 3), random_codes(2, 6, 40), normal(1, 8, 3)
    new, metrics = update(state, x, codes, fresh, decay=0.9, threshold=1.0)
    alive = 0
    for code in range(8):
        chosen = x[codes == code]
        count = 0.9 * state.codebook_count[code] + 0.1 * len(chosen)
        total = 0.9 * state.codebook_sum[code] + 0.1 * chosen.sum(axis=0)
        np.testing.assert_allclose(new.codebook_count[code], count, rtol=1e-6)
        np.testing.assert_allclose(new.codebook_sum[code], total, rtol=1e-4, atol=1e-6)
        expected = total / count if count >= 1.0 else fresh[code]
        alive += count >= 1.0
        np.testing.assert_allclose(new.codebook[code], expected, rtol=1e-4, atol=1e-6)
    assert 0 < alive < 8
    assert metrics["usage"] == alive
    share = np.bincount(codes, minlength=8) / 40
    entropy = -sum(p * np.log(p) for p in share if p)
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)
    assert metrics["used_curr"] == (share > 0).sum()
    change = np.sqrt(np.mean(np.square(new.codebook - state.codebook)))
    np.testing.assert_allclose(metrics["dk"], change, rtol=1e-5)


def test_decay_of_one_freezes_even_dead_codes(state):
    x, codes, fresh = normal(0, 40, 3), random_codes(0, 8, 40), normal(1, 8, 3)
    new, metrics = update(state, x, codes, fresh, decay=1.0)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert metrics["dk"] == 0.0


def draw_and_select(key, x, num_codes):
    """Returns the draw and the rows that it selects."""

    @jax.jit
    def run(key, x):
        draw = quantize.draw_rows(key, len(x), num_codes, x.shape[1])
        return draw, quantize.select_rows(x, num_codes, draw)

    return jax.device_get(run(key, x))


def test_candidates_are_distinct_rows_of_the_batch(key):
    x = normal(0, 20, 3)
    draw, selected = draw_and_select(key(), x, 8)
    assert draw.noise is None
    rows = [tuple(row) for row in selected]
    assert len(set(rows)) == 8
    assert set(rows) <= {tuple(row) for row in x}


def test_a_short_batch_is_repeated_with_a_little_noise(key):
    x = np.float32(100.0 * np.arange(3.0)[:, None] * np.ones((3, 4)))
    draw, rows = draw_and_select(key(), x, 2000)
    assert draw.noise.shape == (2001, 4)
    nearest = np.round(rows / 100)
    np.testing.assert_allclose(np.bincount(nearest[:, 0].astype(int)), 667, atol=1)
    deviation = np.std(rows - 100 * nearest)
    np.testing.assert_allclose(deviation, 0.01 / np.sqrt(4), rtol=0.1)


def test_a_draw_fixes_the_rows_and_their_noise():
    x = np.float32([[0.0], [1.0], [2.0]])
    draw = Draw(np.array([4, 0, 2, 1, 3, 5]), np.full((6, 1), 100.0, np.float32))
    rows = jax.jit(quantize.select_rows, static_argnums=1)(x, 4, draw)
    np.testing.assert_allclose(rows[:, 0], np.array([1, 0, 2, 1]) + 1.0)


def test_features_of_twice_the_width_are_the_sum_of_their_halves():
    first, second, codebook = normal(0, 2, 5, 3), normal(1, 2, 5, 3), normal(2, 8, 3)
    quantize_both = jax.jit(quantize.quantize_vectors)
    double = quantize_both(jnp.concatenate([first, second], axis=-1), codebook)
    single = quantize_both(first + second, codebook)
    np.testing.assert_array_equal(double.codes, single.codes)
    np.testing.assert_array_equal(double.vectors, single.vectors)
    np.testing.assert_allclose(double.input_std, first.std() + second.std(), rtol=1e-6)
    with pytest.raises(ValueError, match="features have 4 entries, but a codebook of 3 takes 3 or"):
        quantize.quantize_vectors(normal(0, 2, 5, 4), codebook)


def test_restored_codes_count_as_equally_used():
    vectors = normal(0, 8, 3)
    state = quantize.restore_codebook(vectors, num_tokens=40)
    np.testing.assert_array_equal(state.codebook_count, jnp.full(8, 5.0))
    np.testing.assert_allclose(state.codebook_sum, 5 * vectors)
    assert quantize.restore_codebook(vectors).codebook_count[0] == 1.0
    assert state.initialised
    assert not quantize.empty_codebook(8, 3).initialised
