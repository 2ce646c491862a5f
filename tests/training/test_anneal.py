"""When the learning rate goes to zero, and what stops a run early."""

import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.training import anneal
from jukejax.training.anneal import NEVER, ScheduleConfig


def factors(config, state, steps):
    return [float(anneal.rate_factor(config, state, jnp.int32(step))) for step in steps]


def test_nothing_happens_before_the_start_is_known():
    config = ScheduleConfig(anneal_steps=10)
    assert factors(config, anneal.init_anneal(), [0, 5, 2**31 - 2]) == [1.0, 1.0, 1.0]


def test_the_factor_falls_linearly_from_the_start_to_zero():
    config = ScheduleConfig(anneal_steps=10)
    state = anneal.init_anneal().replace(start=jnp.int32(100))
    expected = [1.0, 1.0, 0.7, 0.1, 0.0, 0.0]
    np.testing.assert_allclose(
        factors(config, state, [0, 100, 103, 109, 110, 500]), expected, atol=1e-6
    )


def test_the_smoothed_loss_is_a_mean_that_forgets_and_has_no_start_of_its_own():
    config, state = ScheduleConfig(smoothing=4), anneal.init_anneal()
    values = [8.0, 6.0, 7.0, 1.0]
    for step, value in enumerate(values):
        state = anneal.observe_train_loss(config, state, jnp.float32(value), jnp.int32(step))
    weights = 0.75 ** np.arange(4)[::-1]
    np.testing.assert_allclose(state.smoothed, np.average(values, weights=weights), rtol=1e-6)


def test_the_target_counts_once_the_average_has_filled():
    """A lucky first batch starts nothing; the first step under the target does, for good."""
    config, state = ScheduleConfig(anneal_at_bits=2.0, smoothing=3), anneal.init_anneal()
    starts = []
    for step, value in enumerate([1.0, 1.0, 9.0, 9.0, 0.0, 0.0, 0.0, 0.0, 9.0]):
        state = anneal.observe_train_loss(config, state, jnp.float32(value), jnp.int32(step))
        starts.append(int(state.start))
    begun = starts.index(next(start for start in starts if start != NEVER))
    assert begun > 2
    assert starts[begun:] == [begun + 1] * (len(starts) - begun)


def observe_all(config, values):
    state, seen = anneal.init_anneal(), []
    for number, value in enumerate(values, start=1):
        state = anneal.observe_heldout_loss(
            config, state, jnp.float32(value), jnp.int32(10 * number)
        )
        seen.append((float(state.best), int(state.stalled), int(state.start)))
    return seen


def test_a_stalled_heldout_loss_starts_the_decay():
    seen = observe_all(ScheduleConfig(anneal_on_stall=2), [5.0, 4.0, 4.5, 4.0, 3.0])
    assert [best for best, _, _ in seen] == [5.0, 4.0, 4.0, 4.0, 3.0]
    assert [stalled for _, stalled, _ in seen] == [0, 0, 1, 2, 0]
    assert [start for _, _, start in seen] == [NEVER, NEVER, NEVER, 40, 40]


def test_without_being_asked_a_stall_starts_nothing():
    assert observe_all(ScheduleConfig(), [5.0, 6.0, 7.0, 8.0])[-1] == (5.0, 3, NEVER)


def test_lengths_must_be_positive():
    with pytest.raises(ValueError, match=r"schedule\.anneal_steps is 0: it must be 1 or more"):
        ScheduleConfig(anneal_steps=0)
