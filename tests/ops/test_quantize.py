"""The codebook against plain NumPy loops, its draws, and its independence of sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import quantize
from jukejax.ops.cpu.scatter import scatter_sums
from jukejax.ops.quantize import Codebook, Draw


@pytest.fixture
def state(key):
    """Eight codes of three features, some little used."""
    counts = jnp.array([3.0, 0.2, 1.001, 8.0, 0.0, 1.5, 2.0, 0.9])
    vectors = jax.random.normal(key(), (8, 3))
    return Codebook(vectors, vectors * counts[:, None], counts, jnp.ones((), bool))


@pytest.mark.parametrize("length", [1, 50, 1024, 2500])
def test_nearest_equals_brute_force(key, length):
    x, codebook = jax.random.normal(key(), (2, length, 4)), jax.random.normal(key(), (32, 4))
    codes, distance = jax.jit(quantize.find_nearest)(x, codebook)
    gaps = np.asarray(x, np.float64)[:, :, None] - np.asarray(codebook, np.float64)
    slow = np.square(gaps).sum(axis=-1)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, slow.argmin(axis=-1))
    np.testing.assert_allclose(distance, slow.min(axis=-1), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_codes_wins_and_nan_stays_in_range():
    codebook = jnp.array([[5.0], [1.0], [1.0], [-1.0]])
    codes, _ = quantize.find_nearest(jnp.array([[[1.0], [0.0], [jnp.nan]]]), codebook)
    np.testing.assert_array_equal(codes[0, :2], [1, 1])
    assert 0 <= codes[0, 2] < 4


def test_gradients_pass_straight_through_and_commit_pulls(key):
    codebook = jax.random.normal(key(), (8, 3))
    x, cotangent = jax.random.normal(key(), (2, 5, 3)), jax.random.normal(key(), (2, 5, 3))
    given = quantize.quantize_vectors(x, codebook)
    np.testing.assert_allclose(given.vectors, codebook[given.codes], rtol=1e-6, atol=1e-6)
    through = jax.grad(
        lambda x: jnp.sum(quantize.quantize_vectors(x, codebook).vectors * cotangent)
    )(x)
    np.testing.assert_array_equal(through, cotangent)
    pull = jax.grad(lambda x: quantize.quantize_vectors(x, codebook).commitment_loss)(x)
    np.testing.assert_allclose(pull, 2 * (x - codebook[given.codes]) / x.size, rtol=1e-5)
    nothing = jax.grad(lambda c: jnp.sum(quantize.quantize_vectors(x, c).vectors))(codebook)
    np.testing.assert_array_equal(nothing, jnp.zeros_like(codebook))


def test_totals_are_the_same_by_scatter_and_by_product(key):
    x, codes = jax.random.normal(key(), (50, 3)), jax.random.randint(key(), (50,), 0, 8)
    for ours in (scatter_sums, quantize._multiply_one_hot):
        sums, counts = ours(x, codes, num_codes=9)
        for code in range(9):
            chosen = np.asarray(x)[np.asarray(codes) == code]
            np.testing.assert_allclose(sums[code], chosen.sum(axis=0), rtol=1e-5, atol=1e-6)
            assert counts[code] == len(chosen)


def test_update_equals_a_loop_and_restarts_dead_codes(key, state):
    x, codes = jax.random.normal(key(), (40, 3)), jax.random.randint(key(), (40,), 2, 6)
    fresh = jax.random.normal(key(), (8, 3))
    new, metrics = quantize.update_codebook(state, x, codes, fresh, decay=0.9, threshold=1.0)
    alive = 0
    for code in range(8):
        chosen = np.asarray(x)[np.asarray(codes) == code]
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


def test_decay_of_one_freezes_even_dead_codes(key, state):
    x, codes = jax.random.normal(key(), (40, 3)), jax.random.randint(key(), (40,), 0, 8)
    fresh = jax.random.normal(key(), (8, 3))
    new, metrics = quantize.update_codebook(state, x, codes, fresh, decay=1.0)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert metrics["dk"] == 0.0


def test_candidates_are_distinct_rows_of_the_batch(key):
    x = jax.random.normal(key(), (20, 3))
    drawn = quantize.draw_rows(key(), 20, 8, 3)
    assert drawn.noise is None
    rows = [tuple(row) for row in np.asarray(quantize.select_rows(x, 8, drawn))]
    assert len(set(rows)) == 8
    assert set(rows) <= {tuple(row) for row in np.asarray(x)}


def test_a_short_batch_is_repeated_with_a_little_noise(key):
    x = 100.0 * jnp.arange(3.0)[:, None] * jnp.ones((3, 4))
    drawn = quantize.draw_rows(key(), 3, 2000, 4)
    assert drawn.noise.shape == (2001, 4)
    rows = quantize.select_rows(x, 2000, drawn)
    nearest = jnp.round(rows / 100)
    np.testing.assert_allclose(np.bincount(nearest[:, 0].astype(int)), 667, atol=1)
    deviation = jnp.std(rows - 100 * nearest)
    np.testing.assert_allclose(deviation, 0.01 / np.sqrt(4), rtol=0.1)


def test_given_draws_are_obeyed():
    x = jnp.array([[0.0], [1.0], [2.0]])
    drawn = Draw(jnp.array([4, 0, 2, 1, 3, 5]), jnp.full((6, 1), 100.0))
    rows = quantize.select_rows(x, 4, drawn)
    np.testing.assert_allclose(rows[:, 0], np.array([1, 0, 2, 1]) + 1.0)


def test_restored_codes_count_as_equally_used(key):
    vectors = jax.random.normal(key(), (8, 3))
    state = quantize.restore_codebook(vectors, num_tokens=40)
    np.testing.assert_array_equal(state.codebook_count, jnp.full(8, 5.0))
    np.testing.assert_allclose(state.codebook_sum, 5 * vectors)
    assert quantize.restore_codebook(vectors).codebook_count[0] == 1.0
    assert state.initialised
    assert not quantize.empty_codebook(8, 3).initialised
