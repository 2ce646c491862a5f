"""Learning rates, both Adams against NumPy loops, clipping, averages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.training import loss_scale
from jukejax.training.optim import (
    OptimizerConfig,
    corrected_decay,
    ema_decay,
    make_optimizer,
    make_schedule,
    openai_adam,
    update_ema,
)

NO_DROP = 1e10  # steps between drops of the rate: OpenAI's default, which means never


def rates(config, steps):
    return np.asarray(jax.vmap(make_schedule(config))(jnp.asarray(steps)))


def test_the_rate_warms_up_from_zero():
    config = OptimizerConfig(learning_rate=0.5, warmup_steps=10, decay_steps=NO_DROP)
    np.testing.assert_allclose(rates(config, [0, 1, 5, 10, 1000]), [0, 0.05, 0.25, 0.5, 0.5])


def test_linear_decay_reaches_zero_and_stays_there():
    config = OptimizerConfig(learning_rate=0.5, warmup_steps=10, decay_start=20, decay_steps=40)
    np.testing.assert_allclose(
        rates(config, [10, 20, 30, 50, 60, 61, 999]), [0.5, 0.5, 0.375, 0.125, 0, 0, 0], atol=1e-7
    )


def test_the_rate_drops_by_gamma():
    config = OptimizerConfig(learning_rate=0.5, warmup_steps=1, gamma=0.1, decay_steps=10)
    np.testing.assert_allclose(rates(config, [9, 10, 19, 20]), [0.5, 0.05, 0.05, 0.005], rtol=1e-5)


def run_numpy(config, params, grads_of, steps):
    """Adam with decoupled decay as the config says, one float64 array."""
    p, m, v = params.astype(np.float64), 0.0, 0.0
    for t in range(steps):
        g = grads_of(t).astype(np.float64)
        norm = np.sqrt((g**2).sum())
        g = g if norm <= config.clip else g * config.clip / norm
        m = config.beta1 * m + (1 - config.beta1) * g
        v = config.beta2 * v + (1 - config.beta2) * g**2
        c1, c2 = 1 - config.beta1 ** (t + 1), 1 - config.beta2 ** (t + 1)
        rate = config.learning_rate * min(1.0, t / config.warmup_steps)
        if config.adam == "openai":
            step = np.sqrt(c2) / c1 * (m / (np.sqrt(v) + config.eps) + config.weight_decay * p)
        else:
            step = (m / c1) / (np.sqrt(v / c2) + config.eps) + config.weight_decay * p
        p = p - rate * step
    return p


@pytest.mark.parametrize("adam", ["optax", "openai"])
def test_both_adams_follow_their_formulas(adam):
    """eps is large enough that its place shows; the third gradient is clipped."""
    config = OptimizerConfig(
        learning_rate=0.1,
        warmup_steps=3,
        eps=0.1,
        weight_decay=0.2,
        clip=2.0,
        adam=adam,
        decay_steps=NO_DROP,
    )
    rng = np.random.default_rng(0)
    start = rng.normal(size=6).astype(np.float32)
    grads = rng.normal(size=(8, 6)).astype(np.float32) * 0.5
    grads[2] *= 50
    optimizer = make_optimizer(config)
    params, state = jnp.asarray(start), optimizer.init(jnp.asarray(start))

    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return params + updates, state

    for t in range(8):
        params, state = step(params, state, jnp.asarray(grads[t]))
        np.testing.assert_allclose(
            params, run_numpy(config, start, lambda t: grads[t], t + 1), rtol=1e-4, atol=1e-6
        )
    other = dataclasses.replace(config, adam="openai" if adam == "optax" else "optax")
    assert np.abs(params - run_numpy(other, start, lambda t: grads[t], 8)).max() > 1e-3


@pytest.mark.parametrize("adam", ["optax", "openai"])
def test_the_first_step_changes_nothing(adam):
    optimizer = make_optimizer(OptimizerConfig(warmup_steps=10, adam=adam, decay_steps=NO_DROP))
    params = jnp.ones(3)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates, 0.0)


def test_a_clip_of_zero_turns_clipping_off():
    """With clipping, Adam's second moment of a huge gradient is that of a unit one."""
    config = OptimizerConfig(adam="openai", decay_steps=NO_DROP)
    params = jnp.ones(1)
    for clip, second in ((0.0, 1e4), (1.0, 1.0)):
        optimizer = make_optimizer(dataclasses.replace(config, clip=clip))
        _, (_, adam) = optimizer.update(100 * params, optimizer.init(params), params)
        np.testing.assert_allclose(adam.nu, 0.001 * second, rtol=1e-5)


def test_openai_adam_keeps_the_shape_of_any_tree():
    optimizer = openai_adam(OptimizerConfig(decay_steps=NO_DROP))
    params = {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(4)}}
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert int(state.count) == 1


def test_the_average_forgets_by_its_decay():
    average, params = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, -2.0])}
    np.testing.assert_allclose(update_ema(average, params, 0.75)["w"], [1.5, 1.0])
    for _ in range(200):
        average = update_ema(average, params, 0.9)
    np.testing.assert_allclose(average["w"], params["w"], rtol=1e-5)


def test_the_default_decay_follows_the_global_batch():
    assert ema_decay(OptimizerConfig(), 8) == pytest.approx(0.999)
    assert ema_decay(OptimizerConfig(), 32) == pytest.approx(0.996)
    assert ema_decay(OptimizerConfig(ema_decay=0.5), 32) == 0.5


def test_the_loss_scale_halves_on_overflow_and_doubles_in_a_window():
    scale = jnp.float32(1024.0)
    for _ in range(10):
        scale = loss_scale.update_scale(scale, jnp.array(True), window=10)
    np.testing.assert_allclose(scale, 2048.0, rtol=1e-5)
    np.testing.assert_allclose(
        loss_scale.update_scale(scale, jnp.array(False), window=10), 1024.0, 1e-5
    )


def test_what_is_not_kept_stays_as_it_was():
    old, new = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    for finite, expected in ((True, 1.0), (False, 0.0)):
        np.testing.assert_array_equal(loss_scale.select_finite(finite, new, old)["w"], expected)


def test_the_cosine_goes_from_the_rate_to_zero():
    config = OptimizerConfig(
        learning_rate=0.5, warmup_steps=0, decay="cosine", decay_start=20, decay_steps=40
    )
    np.testing.assert_allclose(
        rates(config, [0, 20, 30, 40, 50, 60, 99]),
        0.25 * (1 + np.cos(np.pi * np.array([0, 0, 0.25, 0.5, 0.75, 1, 1]))),
        atol=1e-7,
    )


def test_weight_decay_spares_what_the_config_names():
    params = {
        "transformer": {"mlp_in": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}},
        "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "code_embedding": jnp.ones(2),
    }
    grads = jax.tree.map(jnp.zeros_like, params)
    for adam in ("optax", "openai"):
        config = OptimizerConfig(
            learning_rate=1.0, warmup_steps=0, weight_decay=0.5, adam=adam, decay_steps=NO_DROP
        )
        for spared, moved in ((("bias", "norm", "embedding"), 1), (("bias",), 3), ((), 5)):
            optimizer = make_optimizer(dataclasses.replace(config, no_decay=spared))
            updates, _ = optimizer.update(grads, optimizer.init(params), params)
            assert float(jnp.abs(updates["transformer"]["mlp_in"]["kernel"]).max()) > 0
            assert sum(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(updates)) == moved


def test_unknown_choices_are_named():
    for fields, message in (
        ({"no_decay": ("biases",)}, "no_decay names biases; known: bias, norm, embedding"),
        ({"decay": "square"}, "decay is 'square'; known: linear, cosine"),
        ({"adam": "lion"}, "adam is 'lion'; known: optax, openai"),
    ):
        with pytest.raises(ValueError, match=message):
            OptimizerConfig(**fields)


def test_the_corrected_average_is_a_weighted_mean_of_what_it_saw():
    values = [5.0, -1.0, 2.0, 8.0]
    average = jnp.float32(1000.0)  # a start that must not be seen
    for number, value in enumerate(values, start=1):
        average = update_ema(average, jnp.float32(value), corrected_decay(0.9, jnp.int32(number)))
        weights = 0.9 ** np.arange(number)[::-1]
        np.testing.assert_allclose(average, np.average(values[:number], weights=weights), rtol=1e-5)
