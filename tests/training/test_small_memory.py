"""Optimizers and moments that need less memory, and state in the host's memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.training import dry_run, offload, optim, plan
from jukejax.training.loop import Training
from jukejax.training.optim import OptimizerConfig, make_optimizer
from jukejax.training.rounding import round_stochastically
from jukejax.weights import checkpoints
from tests.support.pretrained_run import SHORT_RUN, make_config, start_run

CONFIG = OptimizerConfig(
    learning_rate=0.1, warmup_steps=0, clip=0.0, weight_decay=0.0, decay_start=0, decay_steps=10**9
)
KERNEL = {"self_layers": {"mlp_in": {"kernel": jnp.zeros((2, 4, 3))}}, "bias": jnp.zeros(5)}


def updates_of(config, params, grads):
    """Returns the updates of a sequence of gradients, and the last state."""
    optimizer = make_optimizer(config)
    state, updates = optimizer.init(params), []
    for grad in grads:
        update, state = jax.jit(optimizer.update)(grad, state, params)
        updates.append(update)
    return updates, state


def draw(tree, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), tree)


def test_rounding_is_to_a_neighbor_and_unbiased():
    values = jnp.full(20_000, 1.0 + 3 / 1024)  # bfloat16 has 1 and 1 + 8 / 1024
    rounded = np.asarray(round_stochastically(values, jax.random.key(0)), np.float32)
    assert set(np.unique(rounded)) == {np.float32(1.0), np.float32(1.0 + 8 / 1024)}
    assert (rounded > 1).mean() == pytest.approx(3 / 8, abs=0.02)
    exact = jnp.array([0.0, -2.0, 0.375, 1e-30], jnp.bfloat16)
    np.testing.assert_array_equal(
        round_stochastically(exact.astype(jnp.float32), jax.random.key(1)), exact
    )


@pytest.mark.parametrize("adam", ["optax", "openai"])
def test_moments_in_bfloat16_follow_those_in_float32(adam):
    """With rounding to the nearest, the second moment would stay at a fifth of its limit."""
    params = {"w": jnp.zeros(2000)}
    config = dataclasses.replace(CONFIG, adam=adam, moment_dtype="bfloat16")
    optimizer = make_optimizer(config)

    def step(state, _):
        return optimizer.update({"w": jnp.ones(2000)}, state, params)[1], None

    state, _ = jax.lax.scan(step, optimizer.init(params), length=1500)
    leaves = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (2000,)]
    assert [leaf.dtype for leaf in leaves] == [jnp.bfloat16] * 2
    first, second = (np.asarray(leaf, np.float32).mean() for leaf in leaves)
    assert first == pytest.approx(1.0, rel=0.01)
    assert second == pytest.approx(1 - 0.999**1500, rel=0.01)


def test_muon_orthogonalizes_the_kernels_of_layers_and_adam_trains_the_rest():
    """The singular values of the first update are equal, up to the error of five iterations."""
    params = draw(KERNEL, 0)
    (update,), _ = updates_of(dataclasses.replace(CONFIG, kind="muon"), params, [draw(KERNEL, 1)])
    singular = np.linalg.svd(update["self_layers"]["mlp_in"]["kernel"], compute_uv=False)
    assert singular.shape == (2, 3)
    assert singular.max() / singular.min() < 2.0
    grad = np.linalg.svd(draw(KERNEL, 1)["self_layers"]["mlp_in"]["kernel"], compute_uv=False)
    assert grad.max() / grad.min() > 2.5
    rms = np.sqrt(np.mean(np.square(update["self_layers"]["mlp_in"]["kernel"])))
    assert rms == pytest.approx(0.1 * 0.2, rel=0.3)
    nesterov = 1.0 + 0.9 * (1 - 0.9) / (1 - 0.9**2)  # of a first step, relative to plain Adam
    np.testing.assert_allclose(np.abs(update["bias"]), 0.1 * nesterov, rtol=1e-3)
    assert np.all(np.sign(update["bias"]) == -np.sign(draw(KERNEL, 1)["bias"]))


def test_adafactor_keeps_a_row_and_a_column_of_a_large_matrix():
    """Its update of a gradient of rank one is the sign of the gradient, of Adam's size."""
    params = {"w": jnp.ones((128, 256)), "b": jnp.ones(3)}
    rows, columns = (jnp.linspace(1.0, 5.0, n) for n in (128, 256))
    grads = {"w": -jnp.outer(rows, columns), "b": jnp.ones(3)}
    (update,), state = updates_of(dataclasses.replace(CONFIG, kind="adafactor"), params, [grads])
    assert max(leaf.size for leaf in jax.tree.leaves(state)) == 256
    np.testing.assert_allclose(update["w"], 0.1, rtol=1e-4)
    np.testing.assert_allclose(update["b"], -0.1, rtol=1e-4)


@pytest.mark.parametrize("kind", ["adam", "adafactor", "muon"])
def test_weight_decay_is_that_of_adamw_for_every_kind(kind):
    params = draw(KERNEL, 0)
    grads = jax.tree.map(jnp.zeros_like, params)
    config = dataclasses.replace(CONFIG, kind=kind, weight_decay=0.5, no_decay=("bias",))
    (update,), _ = updates_of(config, params, [grads])
    kernel = update["self_layers"]["mlp_in"]["kernel"]
    expected = -0.1 * 0.5 * params["self_layers"]["mlp_in"]["kernel"]
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)
    np.testing.assert_array_equal(update["bias"], 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(kind="lion"), "kind is 'lion'; known: adam, adafactor, muon"),
        (dict(moment_dtype="int8"), "moment_dtype is 'int8'; known: float32, bfloat16"),
        (dict(kind="muon", adam="openai"), "adam=openai needs kind=adam, and it is muon"),
        (dict(kind="adafactor", moment_dtype="bfloat16"), "remove optimizer.moment_dtype"),
        (dict(on_host=("params",)), "on_host names params; known: ema, moments"),
    ],
)
def test_settings_that_do_not_exist_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def small_run(folder, codes, **optimizer):
    config = make_config(folder, codes)
    with config.unlocked():
        config.update(
            SHORT_RUN
            | dict(steps=3, optimizer=dict(learning_rate=0.01, warmup_steps=0) | optimizer)
        )
    return config


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *args: devices)


def test_state_on_the_host_gives_the_same_bits_and_is_resumed_there(
    prior_bundle, artist_codes, tmp_path, one_device
):
    """One run on the device, one with averages and moments on the host, stopped and resumed."""
    here, there = small_run(prior_bundle, artist_codes), small_run(prior_bundle, artist_codes)
    there.optimizer.on_host = ("ema", "moments")
    Training(here, tmp_path / "here").run()
    there.steps = 2
    Training(there, tmp_path / "there").run()
    there.steps = 3
    training = Training(there, tmp_path / "there")
    training.run()
    for field, kind in (("params", "device"), ("ema_params", "pinned_host")):
        leaves = jax.tree.leaves(getattr(training.state, field))
        assert {leaf.sharding.memory_kind for leaf in leaves} == {kind}
    states = (checkpoints.read_state(tmp_path / name) for name in ("here", "there"))
    for value, expected in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_backend_without_host_memory_is_refused(monkeypatch, prior_bundle, artist_codes):
    monkeypatch.setattr(offload, "HOST_MEMORY", "elsewhere")
    config = small_run(prior_bundle, artist_codes, on_host=("ema",))
    with pytest.raises(ValueError, match="on_host needs the memory elsewhere, and cpu has device"):
        start_run(config)


@pytest.mark.parametrize("kind", ["adafactor", "muon"])
def test_other_kinds_train_a_sharded_model(prior_bundle, artist_codes, kind):
    config = small_run(prior_bundle, artist_codes, kind=kind)
    _, built, state = start_run(config, data=1, fsdp=2)
    batch = {
        name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in built.task.batch_shapes(2).items()
    }
    before = jax.tree.map(np.asarray, state.params)
    with jax.set_mesh(built.mesh):
        state, metrics = built.update(state, batch, jax.random.key(0))
    assert np.isfinite(metrics["loss"])
    moved = jax.tree.map(lambda a, b: np.any(a != b), before, state.params)
    assert moved["autoregressive"]["transformer"]["self_layers"]["mlp_in"]["kernel"]


def test_a_dry_run_shows_each_part_with_and_without(prior_bundle, artist_codes, one_device):
    planned = plan.make_plan(small_run(prior_bundle, artist_codes, on_host=("ema",)))
    assert planned.host_memory == {"averaged params": planned.memory["params"]}
    assert "averaged params" not in planned.memory
    savings = {saving.setting: saving for saving in planned.savings}
    half = savings["optimizer.moment_dtype=bfloat16"]
    assert half.current == planned.memory["optimizer"]
    assert half.changed == pytest.approx(half.current / 2, abs=16)
    assert savings["optimizer.kind=muon"].changed < half.current
    assert "optimizer.on_host=ema" not in savings
    text = "\n".join(dry_run.format_plan(planned, 1e12))
    assert "averaged params, on the host" in text
    assert "optimizer.moment_dtype=bfloat16" in text
    assert set(optim.ON_HOST) == {"ema", "moments"}
