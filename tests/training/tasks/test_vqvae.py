"""The VQ-VAE's training task on a small dataset: learning, metrics, files, and what it refuses."""

import jax
import numpy as np
import optax
import pytest
import soundfile
from ml_collections import ConfigDict

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.runtime.sharding import unbox
from jukejax.training.tasks.vqvae import VQVAETask

RATE = 44100
HOPS_FIELDS = {"downs": (2, 1), "strides": (2, 2), "multipliers": (1, 1)}
LOSS = {
    "linf_k": 64,
    "multispectral_n_fft": (256,),
    "multispectral_hop": (25,),
    "multispectral_window": (120,),
}


def chord(seconds, base):
    time = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * base * k * time) for k in (1, 2, 3))
    return np.repeat((5000 * sound).astype(np.int16)[:, None], 2, axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    with DatasetWriter(folder, kind="audio", vocabulary=Vocabulary(), separator="none") as writer:
        for i in range(2):
            writer.add("train", corpus.Track(f"t{i}"), audio=chord(1.0, 220 + 110 * i))
        writer.add("heldout", corpus.Track("h"), audio=chord(0.5, 275))
    return str(folder)


def config(folder, **changes):
    values = ConfigDict(
        {
            "task": "vqvae",
            "seed": 0,
            "dtype": "float32",
            "data": {"folder": folder, "window": 2048, "batch_size": 2},
            "model": HOPS_FIELDS
            | {"width": 8, "depth": 1, "emb_dim": 8, "codebook_size": 16, "ema_decay": 0.9},
            "loss": LOSS,
        }
    )
    for name, value in changes.items():
        values[name].update(value)
    return values


@pytest.fixture(scope="module")
def made(folder):
    return VQVAETask(config(folder))


@pytest.fixture(scope="module")
def trained(made):
    """Params, codebooks and the losses of some steps."""
    params, extra = unbox(jax.jit(made.init_params)(jax.random.key(0)))
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params, extra, state, batch, key):
        gradient = jax.value_and_grad(made.loss, has_aux=True)
        (loss, (extra, metrics)), grads = gradient(params, extra, batch, key)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), extra, state, loss, metrics

    batches, losses = made.open_batches("train"), []
    for i in range(40):
        batch = {"audio": next(batches)["audio"]}
        key = jax.random.key(i)
        params, extra, state, loss, metrics = step(params, extra, state, batch, key)
        losses.append(float(loss))
    batches.close()
    return params, extra, losses, metrics


NAMES = {"recons", "multispectral", "spectral_convergence", "usage", "used_curr", "entropy"}
NAMES |= {"commit", "fit", "pn"}


def test_the_loss_falls_and_metrics_carry_their_level(trained):
    _, extra, losses, metrics = trained
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    for level in range(2):
        assert {f"level_{level}/{name}" for name in NAMES | {"dk"}} <= set(metrics)
        assert extra[f"codebooks_{level}"]["initialised"]
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())


def test_evaluation_counts_codes_in_bits_and_changes_nothing(made, trained):
    params, extra, *_ = trained
    batch = {"audio": next(iter(made.open_batches("heldout")))["audio"]}
    metrics = jax.jit(made.evaluate)(params, extra, batch)
    assert {f"level_{level}/{name}" for level in range(2) for name in NAMES} <= set(metrics)
    for level in range(2):
        used = float(metrics[f"level_{level}/used_curr"])
        assert 1 <= used <= 16
        assert 0 <= float(metrics[f"level_{level}/entropy"]) <= np.log2(used) + 1e-5
        alive = (extra[f"codebooks_{level}"]["codebook_count"] >= 1.0).sum()
        assert metrics[f"level_{level}/usage"] == alive


def test_finish_writes_one_reconstruction_a_level(made, trained, folder, tmp_path):
    params, extra, *_ = trained
    summary = made.finish_run(params, extra, str(tmp_path), {"level_0/recons": 1.0})
    assert summary == {"level_0/recons": 1.0}
    original, rate = soundfile.read(tmp_path / "reconstruction" / "original.wav")
    assert rate == RATE
    assert len(original) == RATE // 2 // 8 * 8
    expected = corpus.open_dataset(folder).read_track("heldout", 0).mean(axis=1)[: len(original)]
    np.testing.assert_allclose(original, expected, atol=1e-4)
    for level in range(2):
        sound, _ = soundfile.read(tmp_path / "reconstruction" / f"level_{level}.wav")
        assert sound.shape == original.shape


def test_description_rebuilds_the_model_and_bandwidth_never_changes(made, folder):
    described = made.describe()
    assert described["kind"] == "vqvae"
    assert described["hops"] == [4, 8]
    assert described["sample_rate"] == RATE
    assert described["config"]["codebook_size"] == 16
    assert VQVAETask(config(folder)).describe() == described
    sound = np.concatenate([chord(1.0, 220 + 110 * i)[:, 0] for i in range(2)]) / 32768
    assert described["bandwidth"]["l2"] == pytest.approx(sound.var(), rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"window": 2050}}, "data.window 2050 is no multiple.*take 2048"),
        ({"data": {"window": 1024}}, "data.window 1024 is too short"),
        ({"loss": {"linf_k": 4096}}, "loss.linf_k 4096 exceeds data.window 2048"),
        ({"loss": {"recons": "l3"}}, "loss.recons is 'l3'"),
        ({"loss": {"multispectral_hop": (60, 25)}}, "equally many entries"),
        ({"model": {"widht": 8}}, "did you mean 'width'"),
        ({"model": {"channels": 2}}, "channels is 2"),
    ],
)
def test_impossible_settings_say_which_key_to_change(folder, changes, message):
    wrong = config(folder)
    with wrong.unlocked():
        for name, value in changes.items():
            wrong[name].update(value)
    with pytest.raises(ValueError, match=message):
        VQVAETask(wrong)


@pytest.mark.parametrize("accumulated", [False, True])
def test_one_decoder_alone_is_trained(folder, monkeypatch, accumulated):
    monkeypatch.setattr("jukejax.training.pretrained.check_model", lambda *_: None)
    values = config(folder)
    values.init_from, values.decoders_only = "bundle", 1
    task, trained = VQVAETask(values), VQVAETask(config(folder))
    params, extra = jax.tree.map(unbox, task.init_params(jax.random.key(0)))
    batch = {"audio": np.stack([chord(2048 / RATE, 220)[:, :1] / 32768.0] * 2).astype(np.float32)}
    start = jax.jit(trained.loss)
    _, (extra, _) = start(params, extra, batch, jax.random.key(1))  # starts the codebooks
    loss = task.part_loss if accumulated else task.loss
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    grads, (after, _) = gradient(params, extra, batch, jax.random.key(2))
    if accumulated:
        after, _ = task.update_extra(extra, after, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, after, extra)
    for name, tree in grads.items():
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
        assert (largest > 0) == (name == "decoders_1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoders_only": 2}, "names level 2; the levels with decoders are 0, 1"),
        ({"decoders_only": 0, "init_from": ""}, "needs config.init_from, a trained VQ-VAE"),
    ],
)
def test_decoders_that_cannot_be_trained_alone_are_refused(folder, monkeypatch, changes, message):
    monkeypatch.setattr("jukejax.training.pretrained.check_model", lambda *_: None)
    values = config(folder)
    values.init_from = "bundle"
    for name, value in changes.items():
        values[name] = value
    with pytest.raises(ValueError, match=message):
        VQVAETask(values, with_data=False)
