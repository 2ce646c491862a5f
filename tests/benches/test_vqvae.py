"""`bench vqvae`: its row, the config that it trains, and the reference bench's loss."""

import types

import jax
import numpy as np
import pytest

from jukejax.benches import shapes, vqvae
from jukejax.runtime import sharding

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
def keep_process_settings(monkeypatch):
    monkeypatch.setattr("jukejax.runtime.platform_flags.keep_memory", lambda: None)


def make_values(config, **changed):
    defaults = dict(
        config=str(config), part="all", seconds=0.1, samples=2048, batch=2, loss="l2",
        dtype="float32", repeat=1,
    )  # fmt: skip
    return types.SimpleNamespace(**defaults | changed)


@pytest.mark.slow
def test_vqvae_row_has_every_figure_of_the_contract(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    (row,) = vqvae.measure_rows(make_values(config))
    names = ["encode_all_levels_x_realtime", "train_audio_seconds_per_s"]
    names += [f"decode_level_{level}_x_realtime" for level in range(2)]
    assert all(row[name] > 0 for name in names)
    assert row["decode_level_2_x_realtime"] is None  # two levels only
    assert row["train_audio_seconds_per_s"] == pytest.approx(
        2 * 2048 / 44100 / row["seconds_per_step"], rel=2e-3
    )
    (row,) = vqvae.measure_rows(make_values(config, part="codec"))
    assert row["train_audio_seconds_per_s"] is None


def test_vqvae_bench_refuses_another_task(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    with pytest.raises(ValueError, match="is for prior, not for a VQ-VAE"):
        list(vqvae.measure_rows(make_values(f"{config}:prior")))


def test_l2_loss_is_the_squared_error_and_the_commitment(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(VQVAE)
    bench_config = vqvae.make_config(make_values(config, batch=2))
    task = shapes.SquaredErrorTask(bench_config, with_data=False)
    params, extra = sharding.unbox(jax.jit(task.init_params)(jax.random.key(0)))
    batch, key = shapes.random_batch(task, 2), jax.random.key(1)

    @jax.jit
    def expected():
        model = vqvae.make_model(bench_config)
        variables = {"params": params, "codebook": extra}
        rngs = {"codebook": key}
        output, _ = model.apply(
            variables, batch["audio"], train=True, rngs=rngs, mutable=["codebook"]
        )
        return output.audio, [quantized.commitment_loss for quantized in output.quantized]

    sounds, commits = expected()
    squared = sum(np.mean((np.asarray(sound) - batch["audio"]) ** 2) for sound in sounds)
    loss, (updated, metrics) = jax.jit(task.loss)(params, extra, batch, key)
    np.testing.assert_allclose(loss, squared + np.sum(commits), rtol=1e-5)
    assert bool(updated["codebooks_0"]["initialised"])
    assert metrics == {}
