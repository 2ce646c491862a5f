"""An upsampler's windows in both orders and in any batches: the same codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.inference.conditioning import Labels, make_window_labels, prepare_weights
from jukejax.inference.generate import (
    LevelTracks,
    SamplingSettings,
    make_item_keys,
    sample_level,
)
from jukejax.inference.token_loop import NO_FILTER
from jukejax.inference.window_program import WindowInputs, sample_windows
from jukejax.weights.part_configs import find_prior_shapes
from tests.support.small_priors import UPSAMPLER, VOCAB


@pytest.fixture(scope="module")
def upsampler():
    """Random weights, large enough for codes to depend on those before them."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32),
        find_prior_shapes(UPSAMPLER),
    )
    return prepare_weights(UPSAMPLER, params, jnp.float32)


def sample(weights, *, total=16, items=range(2), codes=None, pending=None, **settings):
    """Returns all states of an upsampler's level."""
    upper = np.random.default_rng(1).integers(VOCAB, size=(8, total // 2)).astype(np.int32)
    upper = upper[items.start : items.stop]
    tracks = LevelTracks(
        total=total,
        codes=np.zeros((len(items), 0), np.int32) if codes is None else codes,
        upper_codes=upper,
        labels=[Labels(item % 3, (item % 4,), 5000 + item) for item in items],
        keys=make_item_keys(0, items, 1),
    )
    settings = SamplingSettings(**{"window_hop": 4, "temperature": 1.0} | settings)
    return list(sample_level(UPSAMPLER, weights, tracks, settings, pending=pending))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("total", [4, 8])
def test_single_window_is_the_same_in_both_schedules(upsampler, total, temperature):
    prompt = np.array([[1, 2], [3, 4]], np.int32)
    for codes in (None, prompt):
        *_, one = sample(upsampler, total=total, codes=codes, temperature=temperature)
        *_, other = sample(
            upsampler, total=total, codes=codes, temperature=temperature, schedule="parallel"
        )
        np.testing.assert_array_equal(one.codes, other.codes)
        assert temperature == 0 or len(np.unique(one.codes)) > 1


@pytest.mark.parametrize(("count", "total"), [(2, 16), pytest.param(8, 40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_item_alone_is_the_same_as_among_others(upsampler, schedule, count, total):
    *_, batch = sample(upsampler, total=total, items=range(count), schedule=schedule)
    assert len({tuple(row) for row in batch.codes.tolist()}) == count
    for item in range(count):
        *_, alone = sample(upsampler, total=total, items=range(item, item + 1), schedule=schedule)
        np.testing.assert_array_equal(alone.codes[0], batch.codes[item])


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_codes_do_not_depend_on_the_batches(upsampler, schedule):
    *_, expected = sample(upsampler, schedule=schedule)
    for rows in (1, 2, 5):  # of six in parallel
        *_, other = sample(upsampler, schedule=schedule, max_batch=rows)
        np.testing.assert_array_equal(other.codes, expected.codes)


def test_parallel_window_is_the_same_as_one_sampled_alone(upsampler):
    """Compares the third window with a single one of the same position and conditions."""
    sampled = {}
    for step in sample(upsampler, total=40, items=range(1), schedule="parallel", max_batch=1):
        sampled |= step.pending
    upper = np.random.default_rng(1).integers(VOCAB, size=(8, 20)).astype(np.int32)
    labels = make_window_labels(UPSAMPLER, [Labels(0, (0,), 5000)], 8)
    inputs = WindowInputs(
        codes=jnp.zeros((1, 8), jnp.int32),
        upper_codes=jnp.asarray(upper[:1, 4:8]),
        labels=jnp.asarray(labels),
        start=jnp.int32(0),
        stop=jnp.int32(8),
        offset=jnp.array([8], jnp.int32),
        keys=make_item_keys(0, range(1), 1),
        temperature=jnp.float32(1.0),
    )
    filled = sample_windows(UPSAMPLER, NO_FILTER, upsampler, inputs, chunk=None, fresh=True)
    np.testing.assert_array_equal(filled[0], sampled[0, 2])


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_level_is_resumed_from_any_state(upsampler, schedule):
    prompt = np.array([[1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 0]], np.int32)
    settings = {"total": 24, "schedule": schedule, "max_batch": 2}
    steps = sample(upsampler, codes=prompt, **settings)
    assert len(steps) > 3
    for step in steps[:-1]:
        *_, last = sample(upsampler, codes=step.codes, pending=step.pending, **settings)
        np.testing.assert_array_equal(last.codes, steps[-1].codes)


@pytest.mark.parametrize("fresh", [True, False])
def test_chunks_of_rows_change_nothing(upsampler, fresh):
    inputs = WindowInputs(
        codes=jnp.zeros((6, 8), jnp.int32),
        upper_codes=jnp.asarray(np.random.default_rng(1).integers(VOCAB, size=(6, 4)), jnp.int32),
        labels=jnp.asarray([[5000 + i, 0, 256, 1, 2, -1] for i in range(6)], jnp.int32),
        start=jnp.int32(0),
        stop=jnp.int32(8),
        offset=jnp.arange(0, 48, 8),
        keys=make_item_keys(0, range(6), 1),
        temperature=jnp.float32(1.0),
    )
    expected = sample_windows(UPSAMPLER, NO_FILTER, upsampler, inputs, chunk=None, fresh=True)
    chunked = sample_windows(UPSAMPLER, NO_FILTER, upsampler, inputs, chunk=4, fresh=fresh)
    np.testing.assert_array_equal(expected, chunked)


def test_unknown_schedule_is_refused(upsampler):
    with pytest.raises(ValueError, match="schedule is 'both'; known: sequential, parallel"):
        sample(upsampler, schedule="both")
