"""One training step, by hand, on a model of one number."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jukejax.state import init_state, train_step

RATE, DECAY = 0.1, 0.75


def init(key):
    return {"w": jax.random.normal(key, (3,))}, {"seen": jnp.int32(0)}


def loss(params, extra, batch, key):
    """Half the squared distance to the batch's mean, and a draw that shows which key came."""
    error = params["w"] - batch["x"].mean(axis=0)
    metrics = {"noise": jax.random.normal(key, ())}
    return 0.5 * (error**2).sum(), ({"seen": extra["seen"] + len(batch["x"])}, metrics)


def run(steps, state=None):
    optimizer = optax.sgd(RATE)
    state = init_state(init, optimizer, jax.random.key(1)) if state is None else state
    step = jax.jit(lambda state, batch: train_step(loss, optimizer, DECAY, state, batch, key))
    key, history = jax.random.key(2), []
    batch = {"x": jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])}
    for _ in range(steps):
        state, metrics = step(state, batch)
        history.append((state, metrics))
    return history


def test_steps_follow_gradient_descent_and_its_average():
    w = np.asarray(init(jax.random.key(1))[0]["w"])
    average = w
    for number, (state, metrics) in enumerate(run(4), start=1):
        error = w - 2.0
        np.testing.assert_allclose(metrics["loss"], 0.5 * (error**2).sum(), rtol=1e-5)
        np.testing.assert_allclose(metrics["grad_norm"], np.linalg.norm(error), rtol=1e-5)
        w = w - RATE * error
        average = DECAY * average + (1 - DECAY) * w
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
        np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-5)
        assert int(state.step) == number
        assert int(state.extra["seen"]) == 2 * number


def test_each_step_has_a_key_of_its_own_that_a_resumed_run_finds_again():
    history = run(4)
    noise = [float(metrics["noise"]) for _, metrics in history]
    assert len(set(noise)) == 4
    again = run(2, state=history[1][0])
    assert [float(metrics["noise"]) for _, metrics in again] == noise[2:]
    np.testing.assert_array_equal(again[-1][0].params["w"], history[-1][0].params["w"])


def test_the_average_starts_at_the_weights_in_memory_of_its_own():
    """The step donates both: they must not be one buffer."""
    state = init_state(init, optax.sgd(RATE), jax.random.key(1))
    np.testing.assert_array_equal(state.params["w"], state.ema_params["w"])
    pointers = [x["w"].unsafe_buffer_pointer() for x in (state.params, state.ema_params)]
    assert pointers[0] != pointers[1]
