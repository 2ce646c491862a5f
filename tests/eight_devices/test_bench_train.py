"""`bench train` and `bench vqvae`: their rows, and that the step is the one the reference times."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.benches import shapes, train, vqvae
from jukejax.runtime import sharding

TINY = dict(emb_dim=32, num_layers=3, num_heads=2, seq_len=64, num_blocks=8, attn_order=2)
VQVAE = """
from ml_collections import ConfigDict

def get_config(arg="vqvae"):
    config = ConfigDict(dict(task=arg, dtype="float32", optimizer={}, data={}))
    config.model = dict(
        downs=(1, 1), strides=(4, 2), multipliers=(1, 1), width=4, depth=1, emb_dim=4,
        codebook_size=8,
    )
    config.loss = dict(linf_k=16)
    return config
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A smaller "tiny", and no flags set for this process."""
    monkeypatch.setitem(shapes.TRANSFORMERS, "tiny", TINY)
    monkeypatch.setattr("jukejax.runtime.platform_flags.set_defaults", lambda *shape: None)


def values(**changed):
    found = dict(
        config="tiny", batch=8, dtype="", remat="", accumulate=0, mesh="", repeat=1,
        peak_flops=0.0, aot="", slices=1, json=True, attention="", backend="",
    )  # fmt: skip
    return types.SimpleNamespace(**found | changed)


def test_row_of_a_step_agrees_with_itself():
    (row,) = train.rows(values(peak_flops=1e9))
    seconds = row["seconds_per_step"]
    assert seconds == row["seconds"] > 0
    assert row["tokens_per_s"] == pytest.approx(8 * 64 / seconds, rel=2e-3)
    assert row["mfu"] == pytest.approx(row["model_flops"] / seconds / 1e9 / 8, rel=2e-3)
    # Three layers of 64 positions: products with 4 * 32 * 8 + 2 * 32 * 32 weights, attention to 8
    # keys of width 8 twice; then the logits; 2 for multiply and add, 3 for forward and backward.
    layer = 64 * (4 * 32 * 8 + 2 * 32 * 32 + 2 * 8 * 8)
    assert row["model_flops"] == 8 * 3 * 2 * (3 * layer + 64 * 32 * 2048)
    assert (row["bench"], row["config"], row["batch"], row["dtype"]) == (
        "train", "tiny", 8, "float32",
    )  # fmt: skip


def test_mfu_of_an_unknown_device_is_null():
    (row,) = train.rows(values())
    assert row["mfu"] is None
    assert row["compile_seconds"] > 0
    assert row["peak_memory_bytes"] > 1e6


def test_shapes_train_what_the_reference_trains():
    """No start token and no conditioner of its own, tied output, loss of the whole window."""
    task = shapes.TransformerTask(shapes.transformer_config("tiny"))
    params, _ = jax.jit(task.init)(jax.random.key(0))
    assert set(params) == {"code_embedding", "position_embedding", "transformer"}
    batch = shapes.random_batch(task, 2)
    assert not batch["code_cond"].any()
    assert not batch["label_emb"].any()
    zeros = jax.tree.map(jnp.zeros_like, params)
    loss, _ = task.loss(zeros, {}, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, np.log2(2048), rtol=1e-6)  # all codes alike


def test_conditions_of_the_batch_reach_the_model():
    task = shapes.TransformerTask(shapes.transformer_config("tiny"))
    params, _ = jax.jit(task.init)(jax.random.key(0))
    batch = shapes.random_batch(task, 2)
    plain = task.evaluate(params, {}, batch)["bits_per_code"]
    for name in ("code_cond", "label_emb"):
        noise = np.random.default_rng(1).standard_normal(batch[name].shape, np.float32)
        told = task.evaluate(params, {}, batch | {name: noise})["bits_per_code"]
        assert abs(told - plain) > 1e-4


def test_reference_shapes_have_the_reference_sizes():
    config = shapes.transformer_config("small_prior").model.transformer
    assert (config.emb_dim, config.num_layers, config.seq_len) == (1024, 48, 8192)
    assert (config.num_heads, config.num_blocks, config.attn_order) == (1, 64, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": "huge"}, "neither a file nor one of tiny, small"),
        ({"mesh": "fsdp=4"}, "form data:4,fsdp:64"),
        ({"mesh": "rows:4"}, "axes: data, fsdp, tensor"),
        ({"mesh": "data:3"}, "does not use all 8 devices"),
        ({"batch": 3}, "data.batch_size 3 must be a multiple of 8"),
        ({"dtype": "half"}, "known: float32"),
        ({"remat": "most"}, "remat"),
        ({"aot": "v5e"}, "KIND:SHAPE"),
    ],
)
def test_bad_flags_are_refused_with_their_value(changed, said):
    with pytest.raises(ValueError, match=said):
        list(train.rows(values(**changed)))


def test_flags_change_the_config():
    built, dtype = train.plan(
        values(dtype="bfloat16", mesh="data:2,fsdp:4", batch=16, accumulate=2), None
    )
    assert dtype == "bfloat16"
    assert dict(built.mesh.shape) == {"data": 2, "fsdp": 4, "tensor": 1}
    assert (built.recipe.batch_size, built.recipe.accumulate) == (16, 2)


def codec_values(config, **changed):
    found = dict(
        config=str(config), part="all", seconds=0.1, samples=2048, batch=8, loss="l2",
        dtype="float32", repeat=1,
    )  # fmt: skip
    return types.SimpleNamespace(**found | changed)


@pytest.mark.slow
def test_vqvae_row_has_every_figure_of_the_contract(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    (row,) = vqvae.rows(codec_values(config))
    names = ["encode_all_levels_x_realtime", "train_audio_seconds_per_s"]
    names += [f"decode_level_{level}_x_realtime" for level in range(2)]
    assert all(row[name] > 0 for name in names)
    assert row["decode_level_2_x_realtime"] is None  # two levels only
    assert row["train_audio_seconds_per_s"] == pytest.approx(
        8 * 2048 / 44100 / row["seconds_per_step"], rel=2e-3
    )
    (row,) = vqvae.rows(codec_values(config, part="codec"))
    assert row["train_audio_seconds_per_s"] is None


def test_vqvae_bench_refuses_another_task(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    with pytest.raises(ValueError, match="is for prior, not for a VQ-VAE"):
        list(vqvae.rows(codec_values(f"{config}:prior")))


def test_l2_loss_is_the_squared_error_and_the_commitment(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    made = vqvae.make_config(codec_values(config, batch=2))
    task = shapes.SquaredErrorTask(made, with_data=False)
    params, extra = sharding.unbox(jax.jit(task.init_params)(jax.random.key(0)))
    batch, key = shapes.random_batch(task, 2), jax.random.key(1)

    @jax.jit
    def expected():
        model = vqvae.make_model(made)
        variables = {"params": params, "codebook": extra}
        rngs = {"codebook": key}
        output, _ = model.apply(
            variables, batch["audio"], train=True, rngs=rngs, mutable=["codebook"]
        )
        return output.audio, [quantised.commit for quantised in output.quantised]

    sounds, commits = expected()
    squared = sum(np.mean((np.asarray(sound) - batch["audio"]) ** 2) for sound in sounds)
    loss, (moved, metrics) = jax.jit(task.loss)(params, extra, batch, key)
    np.testing.assert_allclose(loss, squared + np.sum(commits), rtol=1e-5)
    assert bool(moved["codebooks_0"]["initialised"])
    assert metrics == {}
