"""Adapters of a trained prior: what is trained, saved, resumed, merged and refused."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jukejax.common import files
from jukejax.inference.loaded_model import Model
from jukejax.models import lora
from jukejax.models.prior_losses import compute_losses
from jukejax.training import plan, program
from jukejax.training.loop import Training
from jukejax.weights import bundle, checkpoints, loading
from tests.support.command import run_in_process
from tests.support.pretrained_run import SHORT_RUN, make_config, start_run

FACTORS = ("lora_a", "lora_b")


def flat(tree) -> dict[str, np.ndarray]:
    return bundle.flatten_weights(jax.tree.map(np.asarray, tree))


def adapted_config(folder, codes, part="level_2", changes=SHORT_RUN, **settings):
    config = make_config(folder, codes, part)
    with config.unlocked():
        config.lora = dict(rank=2, **settings)
        config.update(changes)
        config.optimizer = dict(learning_rate=0.01, warmup_steps=0)
    return config


def draw_batch(task):
    shapes = task.batch_shapes(2)
    random = np.random.default_rng(0)
    return {name: random.integers(0, 2, s.shape, np.int32) for name, s in shapes.items()}


def update(task, built, state, steps=2):
    batch = draw_batch(task)
    with jax.set_mesh(built.mesh):
        for _ in range(steps):
            state, _ = built.update(state, batch, jax.random.key(0))
    return state, batch


@pytest.mark.parametrize("part", ["level_2", "level_1"])
def test_new_adapters_leave_the_loss_bit_equal(prior_bundle, artist_codes, part):
    plain, _, whole = start_run(make_config(prior_bundle, artist_codes, part))
    task, _, state = start_run(adapted_config(prior_bundle, artist_codes, part))
    batch = draw_batch(task)
    losses = [
        jax.jit(t.loss)(s.params, s.extra, batch, jax.random.key(1))[0]
        for t, s in ((plain, whole), (task, state))
    ]
    assert float(losses[0]) == float(losses[1])


def test_only_adapters_and_grown_tables_are_trained(prior_bundle, artist_codes):
    """The base keeps its bits; the optimizer and the averages hold the trained parameters only."""
    task, built, state = start_run(adapted_config(prior_bundle, artist_codes), fsdp=2, data=1)
    before, base = flat(state.params), flat(state.extra)
    targets = {"attn/query_key_value", "attn/out", "mlp_in", "mlp_out"}
    stack = "autoregressive/transformer/self_layers"
    tables = {"label_conditioner/artist", "label_conditioner/genre"}
    assert before.keys() == tables | {
        f"{stack}/{target}/{name}" for target in targets for name in FACTORS
    }
    size = sum(leaf.size for leaf in before.values())
    assert sum(leaf.size for leaf in jax.tree.leaves(state.ema_params)) == size
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) < 2 * size + 4
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == built.shardings
    state, _ = update(task, built, state)
    for name, value in flat(state.params).items():
        assert np.any(value != before[name]), name
    for name, value in flat(state.extra).items():
        np.testing.assert_array_equal(value, base[name], err_msg=name)


@pytest.mark.parametrize("base", lora.BASES)
def test_merged_weights_compute_what_adapters_compute(prior_bundle, artist_codes, base):
    config = adapted_config(prior_bundle, artist_codes, base=base, train=("position_embedding",))
    task, built, state = start_run(config)
    state, batch = update(task, built, state)
    kernel = flat(state.extra)["autoregressive/transformer/self_layers/mlp_in/kernel"]
    assert kernel.dtype == jnp.dtype(base)
    merged = lora.merge_params(task.lora, state.params, state.extra)
    plain_params = start_run(make_config(prior_bundle, artist_codes))[2].params
    assert {n: v.shape for n, v in flat(merged).items()} == {
        n: v.shape for n, v in flat(plain_params).items()
    }
    predictions = jax.jit(
        lambda params: task.model.apply(
            {"params": params},
            batch["codes"],
            labels=batch["labels"],
            method=task.model.compute_predictions,
        )
    )
    expected, _ = compute_losses(
        task.model_config, predictions(merged), batch["codes"], batch["labels"]
    )
    unmerged = jax.jit(task.evaluate)(state.params, state.extra, batch)["bits_per_code"]
    assert float(unmerged) == pytest.approx(float(expected), rel=1e-6)
    untrained, _ = compute_losses(
        task.model_config, predictions(plain_params), batch["codes"], batch["labels"]
    )
    assert abs(float(untrained) - float(expected)) > 1e-3


def test_gradients_are_those_of_the_merged_kernel(prior_bundle, artist_codes):
    """By the chain rule: of A, (dL/dW) B^T; of B, A^T (dL/dW), times alpha / rank."""
    task, built, state = start_run(adapted_config(prior_bundle, artist_codes, alpha=6.0))
    state, batch = update(task, built, state)
    key = jax.random.key(1)
    grads = jax.jit(jax.grad(lambda p: task.loss(p, state.extra, batch, key)[0]))(state.params)
    grads = flat(grads)
    plain, _, _ = start_run(make_config(prior_bundle, artist_codes))
    merged = lora.merge_params(task.lora, state.params, state.extra)
    whole = flat(jax.jit(jax.grad(lambda p: plain.loss(p, {}, batch, key)[0]))(merged))
    stem = "autoregressive/transformer/self_layers/mlp_in"
    factors, dkernel = flat(state.params), whole[f"{stem}/kernel"]
    a, b = (factors[f"{stem}/{name}"] for name in FACTORS)
    expected = {
        "lora_a": 3.0 * dkernel @ b.swapaxes(1, 2),
        "lora_b": 3.0 * a.swapaxes(1, 2) @ dkernel,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(grads[f"{stem}/{name}"], value, rtol=1e-3, atol=1e-6)


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *args: devices)


@pytest.fixture
def run(prior_bundle, artist_codes, tmp_path, one_device):
    workdir = tmp_path / "run"
    Training(adapted_config(prior_bundle, artist_codes), workdir).run()
    return workdir


def test_a_resumed_run_is_equal_and_its_checkpoints_lack_the_base(
    run, prior_bundle, artist_codes, tmp_path
):
    state = checkpoints.read_state(run)
    assert not state["extra"]
    assert len(flat(state["params"])) == 2 + 2 * 4
    resumed = tmp_path / "resumed"
    halves = [adapted_config(prior_bundle, artist_codes) for _ in range(2)]
    halves[0].steps = 2
    for config in halves:
        Training(config, resumed).run()
    for value, expected in zip(
        *map(jax.tree.leaves, (checkpoints.read_state(resumed), state)), strict=True
    ):
        np.testing.assert_array_equal(value, expected)
    with ocp.CheckpointManager((resumed / "checkpoints").absolute()) as manager:
        assert sorted(manager.all_steps()) == [2, 4]


def test_exported_adapters_are_sampled_as_the_merged_model_and_need_their_base(
    run, prior_bundle, tmp_path
):
    merged, apart = tmp_path / "merged", tmp_path / "apart"
    inputs = f"--workdir={prior_bundle},{run}"
    run_in_process("export", inputs, f"--output={merged}")
    run_in_process("export", inputs, f"--output={apart}", "--adapters")
    expected = flat(loading.load_model(merged, "level_2")[1])
    loaded = flat(loading.load_model(apart, "level_2")[1])
    assert expected.keys() == loaded.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)
    base = flat(loading.load_model(prior_bundle, "level_2")[1])
    kernel = "params/autoregressive/transformer/self_layers/mlp_in/kernel"
    assert np.any(base[kernel] != expected[kernel])
    sizes = [(f / "level_2" / "weights.safetensors").stat().st_size for f in (apart, merged)]
    assert sizes[0] < sizes[1] / 2
    assert "lora" not in files.read_json(merged / "level_2" / "config.json")
    assert Model(apart).load_prior(2)[0] == Model(merged).load_prior(2)[0]

    again = tmp_path / "again"  # a bundle of adapters is merged
    run_in_process("export", f"--workdir={apart}", f"--output={again}")
    np.testing.assert_array_equal(
        flat(loading.load_model(again, "level_2")[1])[kernel], loaded[kernel]
    )

    path = apart / "level_2" / "config.json"
    description = files.read_json(path)
    description["lora"]["path"] = str(merged)  # of the same shape, with other weights
    description["config"]["labels"]["num_artists"] = 5
    files.write_json(path, description)
    with pytest.raises(ValueError, match=r"holds adapters of another model than .*merged"):
        loading.load_model(apart, "level_2")
    description["lora"]["path"] = str(apart)
    files.write_json(path, description)
    with pytest.raises(ValueError, match="apart, which holds adapters itself"):
        loading.load_model(apart, "level_2")
    description["lora"]["path"] = "elsewhere"
    files.write_json(path, description)
    with pytest.raises(ValueError, match="adapters of elsewhere, which is not there"):
        loading.load_model(apart, "level_2")
    adapted = tmp_path / prior_bundle.name  # found beside the adapters under its name
    adapted.symlink_to(prior_bundle)
    description["lora"]["path"] = f"moved/{prior_bundle.name}"
    files.write_json(path, description)
    assert flat(loading.load_model(apart, "level_2")[1]).keys() == expected.keys()


def test_another_base_is_refused_when_a_run_continues(run, prior_bundle, artist_codes):
    path = run / "description.json"
    description = files.read_json(path)
    description["lora"]["hash"] = "0" * 64
    files.write_json(path, description)
    config = adapted_config(prior_bundle, artist_codes)
    config.steps = 6
    with pytest.raises(ValueError, match=r"trains adapters of another model .*of 000000000000"):
        Training(config, run).run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(init_from=""), "config.lora adapts a trained model"),
        (dict(task="vqvae"), "config.lora adapts priors"),
        (dict(lora=dict(targets=("atn",))), "lora.targets names 'atn'.*known: attn, auto"),
        (dict(lora=dict(train=("norms",))), "lora.train names 'norms'"),
        (dict(lora=dict(base="int4")), "lora.base is 'int4'; known: float32, bfloat16, int8"),
    ],
)
def test_wrong_settings_are_refused(prior_bundle, artist_codes, changes, message):
    config = adapted_config(prior_bundle, artist_codes)
    with config.unlocked():
        config.update(changes)
    with pytest.raises(ValueError, match=message):
        start_run(config)


def test_adapters_of_adapters_are_refused(run, artist_codes):
    config = adapted_config(run, artist_codes)
    with pytest.raises(ValueError, match=r"holds adapters itself"):
        program.make_task(config)


def test_a_plan_counts_the_base_apart(prior_bundle, artist_codes, one_device):
    planned = plan.make_plan(adapted_config(prior_bundle, artist_codes, base="int8"))
    base = planned.parameters["base"]
    trained = sum(planned.parameters.values()) - base
    kernels = 3 * (16 * 12 + 4 * 16 + 2 * 16 * 16)
    assert planned.memory["params"] == planned.memory["averaged params"] == 4 * trained
    assert planned.memory["base"] == 4 * (base - kernels) + kernels
