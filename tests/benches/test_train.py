"""`bench train`: its row, and that the step is the one that the reference bench times."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.benches import shapes, train, training_step
from tests.training.test_profiling import read_steps

TINY = dict(emb_dim=32, num_layers=3, num_heads=2, seq_len=64, num_blocks=8, attn_order=2)


compile_step = training_step.compile_step
compiled_steps = []


def compile_tiny_step(program):
    """Replaces `training_step.compile_step`: programs of the same config have the same step."""
    if not compiled_steps:
        compiled_steps.append(compile_step(program))
    return compiled_steps[0]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Makes "tiny" smaller, compiles its step once and sets no flags of this process."""
    monkeypatch.setitem(shapes.TRANSFORMERS, "tiny", TINY)
    monkeypatch.setattr("jukejax.runtime.platform_flags.set_defaults", lambda *shape: None)
    monkeypatch.setattr("jukejax.runtime.platform_flags.keep_memory", lambda: None)
    monkeypatch.setattr(training_step, "compile_step", compile_tiny_step)


def make_values(**changed):
    defaults = dict(
        config="tiny", batch=2, dtype="", remat="", accumulate=0, mesh="", repeat=1,
        peak_flops=0.0, aot="", slices=1, json=True, attention="", backend="", profile="",
    )  # fmt: skip
    return types.SimpleNamespace(**defaults | changed)


def test_figures_of_a_row_agree():
    (row,) = train.measure_rows(make_values(peak_flops=1e9))
    seconds = row["seconds_per_step"]
    assert seconds == row["seconds"] > 0
    assert row["tokens_per_s"] == pytest.approx(2 * 64 / seconds, rel=2e-3)
    assert row["mfu"] == pytest.approx(row["model_flops"] / seconds / 1e9 / 2, rel=2e-3)
    # Three layers of 64 positions: products with 4 * 32 * 8 + 2 * 32 * 32 weights, attention to 8
    # keys of width 8 twice; then the logits; 2 for multiply and add, 3 for forward and backward.
    layer = 64 * (4 * 32 * 8 + 2 * 32 * 32 + 2 * 8 * 8)
    assert row["model_flops"] == 2 * 3 * 2 * (3 * layer + 64 * 32 * 2048)
    assert (row["bench"], row["config"], row["batch"], row["dtype"]) == (
        "train", "tiny", 2, "float32",
    )  # fmt: skip


def test_mfu_of_an_unknown_device_is_null():
    (row,) = train.measure_rows(make_values())
    assert row["mfu"] is None
    assert row["compile_seconds"] > 0
    assert row["peak_memory_bytes"] > 1e6


@pytest.fixture(scope="module")
def task_and_params():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shapes.TRANSFORMERS, "tiny", TINY)
        task = shapes.TransformerTask(shapes.transformer_config("tiny"))
    return task, jax.jit(task.init_params)(jax.random.key(0))[0]


def test_shapes_train_what_the_reference_trains(task_and_params):
    """No start token and no conditioner of its own, tied output, loss of the whole window."""
    task, params = task_and_params
    assert set(params) == {"code_embedding", "position_embedding", "transformer"}
    batch = shapes.random_batch(task, 2)
    assert not batch["code_cond"].any()
    assert not batch["label_emb"].any()
    zeros = jax.tree.map(jnp.zeros_like, params)
    loss, _ = jax.jit(task.loss)(zeros, {}, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, np.log2(2048), rtol=1e-6)  # all codes alike


def test_conditions_of_the_batch_reach_the_model(task_and_params):
    task, params = task_and_params
    batch = shapes.random_batch(task, 2)
    evaluate = jax.jit(task.evaluate)
    plain = evaluate(params, {}, batch)["bits_per_code"]
    for name in ("code_cond", "label_emb"):
        noise = np.random.default_rng(1).standard_normal(batch[name].shape, np.float32)
        changed = evaluate(params, {}, batch | {name: noise})["bits_per_code"]
        assert abs(changed - plain) > 1e-4


def test_reference_shapes_have_the_reference_sizes():
    config = shapes.transformer_config("small_prior").model.transformer
    assert (config.emb_dim, config.num_layers, config.seq_len) == (1024, 48, 8192)
    assert (config.num_heads, config.num_blocks, config.attn_order) == (1, 64, 2)


def test_further_steps_are_traced(tmp_path):
    rows = list(train.measure_rows(make_values(repeat=2, profile=str(tmp_path))))
    assert rows[0]["seconds_per_step"] > 0
    assert read_steps(tmp_path) == [([1, 2], True)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": "huge"}, "neither a file nor one of tiny, small"),
        ({"mesh": "fsdp=4"}, "form data:4,fsdp:64"),
        ({"mesh": "rows:4"}, "axes: data, fsdp, tensor"),
        ({"mesh": "data:3"}, "does not use all 2 devices"),
        ({"batch": 3}, "data.batch_size 3 must be a multiple of 2"),
        ({"dtype": "half"}, "known: float32"),
        ({"remat": "most"}, "remat"),
        ({"aot": "v5e"}, "KIND:SHAPE"),
        ({"aot": "v5e:4x4", "profile": "runs/x"}, "--profile traces steps on this machine"),
    ],
)
def test_bad_flags_are_refused_with_their_value(changed, message):
    with pytest.raises(ValueError, match=message):
        list(train.measure_rows(make_values(**changed)))


def test_flags_change_the_config():
    built, dtype = train.build_bench_program(
        make_values(dtype="bfloat16", mesh="data:1,fsdp:2", batch=4, accumulate=2), None
    )
    assert dtype == "bfloat16"
    assert dict(built.mesh.shape) == {"data": 1, "fsdp": 2, "tensor": 1}
    assert (built.recipe.batch_size, built.recipe.accumulate) == (4, 2)
