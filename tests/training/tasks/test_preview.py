"""Previews: of a prior, the same window told and the same noise; of a VQ-VAE, what it rebuilds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.inference.codec import Codec
from jukejax.inference.codec_opening import open_codec
from jukejax.models.conditioners import CodeConditionerConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior import Prior
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.runtime.sharding import unbox
from jukejax.training import telemetry
from jukejax.training.tasks import preview
from jukejax.training.tasks.vqvae import VQVAETask
from tests.integration.test_configs import load
from tests.support import small_bundle
from tests.support.small_codes import write_codes

SEQ = 32


class FakeCodec:
    """Sounds that show which codes they are of."""

    sample_rate = 44100

    def decode(self, codes, level):
        return np.repeat(codes / 16 + level, (8, 32, 128)[level])[:, None].astype(np.float32)


codec = FakeCodec()


def prior(level):
    stack = TransformerConfig(emb_dim=16, num_layers=1, num_heads=2, seq_len=SEQ, num_blocks=4)
    told = {"labels": LabelConfig(3, 2, timing_bins=8)}
    if level < 2:
        told["upper"] = CodeConditionerConfig(16, downs=2, stride=2, width=8, depth=2)
    return PriorConfig(
        level, codebook_size=16, hop_length=(8, 32, 128)[level], transformer=stack, **told
    )


def window(level):
    generator = np.random.default_rng(level)
    batch = {
        "codes": generator.integers(16, size=(1, SEQ)).astype(np.int32),
        "labels": np.array([[900_000, 0, SEQ * 128, 1, 1]], np.int32),
    }
    if level < 2:
        batch["upper_codes"] = generator.integers(16, size=(1, SEQ // 4)).astype(np.int32)
    return batch


@functools.cache
def initializer(config):
    return jax.jit(Prior(config).init)


def params_of(config, batch, seed=0):
    """Returns initial weights, enlarged so that predictions depend on what was sampled before."""
    conditions = {key: value for key, value in batch.items() if key != "codes"}
    variables = initializer(config)(jax.random.key(seed), batch["codes"], **conditions)
    return jax.tree.map(lambda leaf: 20 * np.asarray(leaf), unbox(variables)["params"])


@pytest.mark.parametrize("level", [pytest.param(2, marks=pytest.mark.slow), 0])
def test_generated_and_real_codes_are_decoded_side_by_side(level):
    config, batch = prior(level), window(level)
    params = params_of(config, batch)
    shown = preview.PriorSampler(config, jnp.float32, codec, batch, seed=3).make_preview(params)
    assert shown.sample_rate == 44100
    real, made = shown.histograms["heldout_codes"], shown.histograms["generated_codes"]
    np.testing.assert_array_equal(real, batch["codes"][0])
    assert made.shape == (SEQ,)
    assert len(np.unique(made)) > 1
    for name, codes in (("heldout", real), ("generated", made)):
        np.testing.assert_array_equal(shown.audio[name], codec.decode(codes, level)[:, 0])
        assert shown.audio[name].shape == (SEQ * config.hop_length,)


def test_codes_of_the_training_tracks_are_told_from_others(tmp_path):
    """The share that is copied: all of it, half of it, none of it."""
    folder = write_codes(tmp_path)
    dataset = corpus.open_dataset(folder)
    training_codes = preview.TrainingCodes(dataset, 2)
    known = dataset.read_codes("train", 3)[2][500:900].astype(int)
    new = np.random.default_rng(9).integers(0, 32, 400)
    assert training_codes.measure_match_rate(known) == 1.0
    assert training_codes.measure_match_rate(new) == 0.0
    mixed = np.concatenate([new, known])
    assert training_codes.measure_match_rate(mixed) == pytest.approx(0.5, abs=0.01)
    assert training_codes.measure_match_rate(dataset.read_codes("heldout", 0)[2]) == 0.0


def test_match_rates_are_logged_beside_the_gap():
    config, batch = prior(2), window(2)

    class FakeTrainingCodes:
        def measure_match_rate(self, codes):
            return float(np.array_equal(codes, batch["codes"][0]))

    sampler = preview.PriorSampler(config, jnp.float32, codec, batch, 3, FakeTrainingCodes())
    shown = sampler.make_preview(params_of(config, batch))
    assert shown.figures == {"match_rate": 0.0, "match_rate_heldout": 1.0}
    note = telemetry.format_match_rates(shown.figures | {"gap": 0.25})
    assert "copied: 0.0 % of the preview, 100.0 % of held-out music" in note
    assert "0.250 bits" in note


def test_a_preview_is_the_same_at_the_same_weights_and_another_at_others():
    config, batch = prior(2), window(2)
    sampler = preview.PriorSampler(config, jnp.float32, codec, batch, seed=3)
    first, again, other = (
        sampler.make_preview(params_of(config, batch, seed)).histograms["generated_codes"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_preview_is_short(monkeypatch):
    monkeypatch.setattr(preview, "SECONDS", 10 * 128 / 44100)
    config, batch = prior(2), window(2)
    sampler = preview.PriorSampler(config, jnp.float32, codec, batch, seed=3)
    shown = sampler.make_preview(params_of(config, batch))
    assert shown.audio["generated"].shape == (10 * 128,)


def test_the_vqvae_must_be_the_one_that_made_the_codes(tmp_path):
    folder = small_bundle.write(tmp_path, levels=())
    own = Codec.load(folder).identity
    names = {"flag": "config.vqvae", "codes": "data.folder"}
    assert open_codec(folder, own, **names).identity == own
    assert open_codec(folder, {"hash": own["hash"]}, **names).identity == own
    with pytest.raises(ValueError, match=r"config.vqvae=.* is not the VQ-VAE that made the codes"):
        open_codec(folder, {"hash": "of another"}, **names)


def test_a_vqvaes_preview_is_what_it_writes_at_the_end(tmp_path):
    sound = (8000 * np.sin(np.arange(12_000) / 40)).astype(np.int16)[:, None]
    folder = tmp_path / "audio"
    with DatasetWriter(folder, kind="audio", vocabulary=Vocabulary(), separator="none") as writer:
        writer.add("train", corpus.Track("t"), audio=sound)
        writer.add("heldout", corpus.Track("h"), audio=sound)
    config = load("tiny", "vqvae")
    config.data.folder = str(folder)
    config.model.update(downs=(2,), strides=(2,), multipliers=(1,), depth=1)
    task = VQVAETask(config)
    params, extra = unbox(jax.jit(task.init_params)(jax.random.key(0)))
    shown = task.make_preview(params, extra)
    assert shown.audio.keys() == {"original", "level_0"}
    np.testing.assert_allclose(shown.audio["original"], sound[:, 0] / 32768, atol=1e-6)
    assert shown.histograms["level_0_code_use"].shape == (32,)
    task.finish_run(params, extra, str(tmp_path), {})
    for name, expected in shown.audio.items():
        written, rate = soundfile.read(tmp_path / "reconstruction" / f"{name}.wav")
        assert rate == shown.sample_rate
        np.testing.assert_allclose(written, expected, atol=1e-4)
