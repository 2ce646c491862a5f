"""One training step, by hand, on a model of one number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.training import optim
from jukejax.training.anneal import NEVER, ScheduleConfig
from jukejax.training.loss_scale import LossScaleConfig
from jukejax.training.optim import OptimizerConfig
from jukejax.training.state import Recipe, init_state, train_step
from jukejax.training.task import Task

RATE, DECAY = 0.1, 0.75
OPTIMIZER = OptimizerConfig(
    learning_rate=RATE, warmup_steps=0, weight_decay=0.0, clip=0.0, ema_decay=DECAY
)
BATCH = {"x": jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [4.0, 4.0, 4.0]])}


def init(key):
    return {"w": jax.random.normal(key, (3,))}, {"seen": jnp.int32(0)}


def loss(params, extra, batch, key):
    """Half the squared distance to the batch's mean, and a draw that shows which key came."""
    error = params["w"] - batch["x"].mean(axis=0)
    metrics = {"noise": jax.random.normal(key, ())}
    return 0.5 * (error**2).sum(), ({"seen": extra["seen"] + len(batch["x"])}, metrics)


def linear_loss(params, extra, batch, key):
    """A loss whose gradient is the mean of the rows: the same in parts as in one piece."""
    del key
    return (batch["x"] @ params["w"]).mean(), (extra, {"first": batch["x"][0, 0]})


class NumbersTask(Task):
    """Trains three numbers with a given loss."""

    name = "numbers"

    def __init__(self, loss):
        self._loss = loss

    def init_params(self, key):
        return init(key)

    def loss(self, params, extra, batch, key):
        return self._loss(params, extra, batch, key)

    def evaluate(self, params, extra, batch):
        raise NotImplementedError

    def open_batches(self, split, rows=None, limit=None):
        raise NotImplementedError

    def batch_shapes(self, examples):
        raise NotImplementedError


def recipe_of(**fields):
    recipe = Recipe(optimizer=OPTIMIZER, batch_size=4, schedule=ScheduleConfig())
    return dataclasses.replace(recipe, **fields)


def run(steps, state=None, *, task=None, recipe=None, batches=None):
    task, recipe = task or NumbersTask(loss), recipe or recipe_of()
    state = init_state(task, recipe, jax.random.key(1)) if state is None else state
    step = jax.jit(lambda state, batch: train_step(task, recipe, state, batch, jax.random.key(2)))
    history = []
    for number in range(steps):
        state, metrics = step(state, BATCH if batches is None else batches[number])
        history.append((state, metrics))
    return history


def test_steps_follow_the_optimizer_and_its_average():
    """The average is of the weights after each step, each older one counting DECAY times less."""
    optimizer = optim.make_optimizer(OPTIMIZER)
    params = init(jax.random.key(1))[0]
    opt_state, past = optimizer.init(params), []
    for number, (state, metrics) in enumerate(run(4), start=1):
        error = params["w"] - 2.0
        np.testing.assert_allclose(metrics["loss"], 0.5 * (error**2).sum(), rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(error), rtol=1e-5)
        np.testing.assert_allclose(metrics["learning_rate"], RATE)
        updates, opt_state = optimizer.update({"w": error}, opt_state, params)
        params = {"w": params["w"] + updates["w"]}
        past.append(np.asarray(params["w"]))
        weights = DECAY ** np.arange(number)[::-1]
        average = np.average(past, axis=0, weights=weights)
        np.testing.assert_allclose(state.params["w"], params["w"], rtol=1e-5)
        np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-5)
        assert int(state.step) == number
        assert int(state.extra["seen"]) == 4 * number


def test_fixed_parameters_keep_every_bit():
    def start(key):
        return {"w": init(key)[0]["w"], "fixed": jnp.float32([-0.0, 1 / 3])}, init(key)[1]

    task = NumbersTask(loss)
    task.init_params, task.fixed_params = start, ("fixed",)
    decayed = dataclasses.replace(OPTIMIZER, weight_decay=0.5)
    state = run(5, task=task, recipe=recipe_of(optimizer=decayed))[-1][0]
    for params in (state.params, state.ema_params):
        assert np.asarray(params["fixed"]).tobytes() == np.float32([-0.0, 1 / 3]).tobytes()
        assert (params["w"] != start(jax.random.key(1))[0]["w"]).all()


def test_the_average_without_correction_starts_at_the_random_weights():
    optimizer = dataclasses.replace(OPTIMIZER, ema_bias_correction=False)
    average = np.asarray(init(jax.random.key(1))[0]["w"])
    for state, _ in run(3, recipe=recipe_of(optimizer=optimizer)):
        average = DECAY * average + (1 - DECAY) * np.asarray(state.params["w"])
        np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-5)


def test_each_step_has_a_key_of_its_own_that_a_resumed_run_finds_again():
    history = run(4)
    noise = [float(metrics["noise"]) for _, metrics in history]
    assert len(set(noise)) == 4
    again = run(2, state=history[1][0])
    assert [float(metrics["noise"]) for _, metrics in again] == noise[2:]
    np.testing.assert_array_equal(again[-1][0].params["w"], history[-1][0].params["w"])


def test_the_average_starts_at_the_weights_in_memory_of_its_own():
    """The step donates both: they must not be one buffer."""
    state = init_state(NumbersTask(loss), recipe_of(), jax.random.key(1))
    np.testing.assert_array_equal(state.params["w"], state.ema_params["w"])
    pointers = [x["w"].unsafe_buffer_pointer() for x in (state.params, state.ema_params)]
    assert pointers[0] != pointers[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_only_the_counters(bad):
    spoilt = {"x": BATCH["x"].at[0, 0].set(bad)}
    (first, _), (second, metrics), (third, _) = run(3, batches=[BATCH, spoilt, BATCH])
    for name in ("params", "opt_state", "extra", "ema_params", "anneal"):
        for a, b in zip(
            jax.tree.leaves(getattr(first, name)),
            jax.tree.leaves(getattr(second, name)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert (int(metrics["skipped"]), int(metrics["skipped_in_row"])) == (1, 1)
    assert (int(third.skipped), int(third.skipped_in_row), int(third.step)) == (1, 0, 3)
    assert not np.array_equal(third.params["w"], second.params["w"])


def test_a_gradient_above_skip_norm_changes_only_the_counters():
    recipe = recipe_of(
        optimizer=dataclasses.replace(OPTIMIZER, skip_norm=20.0),
        loss_scale=LossScaleConfig(initial=1024.0, window=10),
    )
    large = {"x": BATCH["x"] * 100}
    history = run(3, recipe=recipe, batches=[BATCH, large, BATCH])
    (first, _), (second, metrics), (third, _) = history
    assert float(metrics["grad_norm"]) > 20.0
    for name in ("params", "opt_state", "extra", "ema_params", "anneal"):
        jax.tree.map(np.testing.assert_array_equal, getattr(first, name), getattr(second, name))
    assert (int(metrics["skipped"]), int(third.skipped_in_row), int(third.step)) == (1, 0, 3)
    scales = [float(metrics["loss_scale"]) for _, metrics in history]
    np.testing.assert_allclose(scales, 1024 * 2 ** np.array([0.1, 0.2, 0.3]), rtol=1e-5)


def test_the_loss_scale_changes_no_gradient_halves_on_overflow_and_grows_slowly():
    recipe = recipe_of(loss_scale=LossScaleConfig(initial=1024.0, window=10))
    spoilt = {"x": BATCH["x"] * np.inf}
    history = run(3, recipe=recipe, batches=[BATCH, spoilt, BATCH])
    scales = [float(metrics["loss_scale"]) for _, metrics in history]
    np.testing.assert_allclose(scales, [1024 * 2**0.1, 512 * 2**0.1, 512 * 2**0.2], rtol=1e-5)
    plain, scaled = run(1)[0], history[0]
    np.testing.assert_allclose(plain[0].params["w"], scaled[0].params["w"], rtol=1e-6)
    np.testing.assert_allclose(plain[1]["grad_norm"], scaled[1]["grad_norm"], rtol=1e-6)


def test_accumulated_parts_take_every_so_manieth_row_and_sum_to_the_whole():
    whole = run(3, task=NumbersTask(linear_loss))[-1][0]
    for parts in (2, 4):
        state, metrics = run(3, task=NumbersTask(linear_loss), recipe=recipe_of(accumulate=parts))[
            -1
        ]
        np.testing.assert_allclose(state.params["w"], whole.params["w"], rtol=1e-6)
        heads = np.asarray(BATCH["x"])[:parts, 0]  # the first row of part m is row m
        np.testing.assert_allclose(metrics["first"], heads.mean())


class CountingTask(NumbersTask):
    """Counts in `extra` how often it is started and updated."""

    def start_extra(self, params, extra, parts, key):
        return {"seen": extra["seen"] + parts["x"].shape[0]}

    def part_loss(self, params, extra, part, key):
        value, (_, metrics) = self.loss(params, extra, part, key)
        return value, (part["x"], metrics)

    def update_extra(self, extra, statistics, key):
        ordered = (statistics == BATCH["x"]).all()
        return {"seen": extra["seen"] + 10}, {"ordered": ordered.astype(jnp.float32)}


def test_accumulation_updates_extra_once_from_all_rows_in_order():
    state, metrics = run(1, task=CountingTask(linear_loss), recipe=recipe_of(accumulate=2))[0]
    assert float(metrics["ordered"]) == 1.0
    assert int(state.extra["seen"]) == 2 + 10


def test_a_batch_that_parts_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"accumulate 3 does not divide data\.batch_size 4"):
        recipe_of(accumulate=3)


def test_the_rate_falls_to_zero_once_the_smoothed_loss_is_at_the_target():
    """Weights stop where the rate is zero."""
    schedule = ScheduleConfig(anneal_at_bits=0.5, anneal_steps=4, smoothing=2)
    history = run(60, recipe=recipe_of(schedule=schedule))
    losses = [float(metrics["loss"]) for _, metrics in history]
    starts = [int(metrics["anneal_start"]) for _, metrics in history]
    begun = next(i for i, start in enumerate(starts) if start != NEVER)
    assert set(starts[begun:]) == {begun + 1}
    smoothed, total, weight = [], 0.0, 0.0
    for value in losses:
        total, weight = 0.5 * total + value, 0.5 * weight + 1
        smoothed.append(total / weight)
    assert smoothed[begun] <= 0.5 < smoothed[begun - 1]
    rates = [float(metrics["learning_rate"]) for _, metrics in history[begun:]]
    np.testing.assert_allclose(
        rates[:7], RATE * np.array([1, 1, 0.75, 0.5, 0.25, 0, 0]), rtol=1e-5, atol=1e-9
    )
    still = history[begun + 5 :]
    assert all(np.array_equal(s.params["w"], still[0][0].params["w"]) for s, _ in still)
