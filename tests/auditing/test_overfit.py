"""Samples of an overfitted model are flagged as copies of its four tracks; controls are not."""

import json

import numpy as np
import pytest

from jukejax.data import audio, corpus, vocabularies
from jukejax.data.writer import DatasetWriter
from jukejax.inference.codec import Codec
from jukejax.weights import bundle, loading
from tests.support import small_codec
from tests.support.command import run

SIZE, TOP = small_codec.CONFIG.codebook_size, 1500
LOOP = 125  # top-level codes, 0.36 s: a track is one loop, twelve times over
SHAPE = {"emb_dim": 96, "num_layers": 3, "num_heads": 2}
STEPS = 1500

pytestmark = pytest.mark.slow


def write_corpus(folder, identity):
    """Writes four loops of 4.4 s to train on and four held out, all of different random codes."""
    random = np.random.default_rng(0)
    info = {"codebook_size": SIZE, "vqvae": identity, "separator": "none", "source": ""}
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for i in range(8):
            levels = {
                f"level_{k}": np.tile(
                    random.integers(0, SIZE, LOOP * 4 ** (2 - k)).astype(np.uint16), TOP // LOOP
                )
                for k in range(3)
            }
            track = corpus.Track(f"t{i}", "a", ("house",), content=str(i))
            writer.add("train" if i < 4 else "heldout", track, **levels)


def test_an_overfitted_model_is_flagged_and_its_controls_are_not(tmp_path):
    model, codes, prior = tmp_path / "model", tmp_path / "codes", tmp_path / "prior"
    bundle.save_part(model / "vqvae", small_codec.DESCRIPTION, small_codec.weights())
    write_corpus(codes, Codec.load(model).identity)
    shape = [f"--config.model.transformer.{name}={value}" for name, value in SHAPE.items()]
    run(
        "train",
        "--config=configs/tiny.py:prior",
        f"--config.data.folder={codes}",
        f"--workdir={prior}",
        f"--config.steps={STEPS}",
        "--config.data.batch_size=8",
        f"--config.log_every={STEPS // 10}",
        f"--config.eval_every={STEPS // 2}",
        f"--config.checkpoint_every={STEPS}",
        "--config.optimizer.learning_rate=3e-3",
        "--config.optimizer.warmup_steps=50",
        f"--config.optimizer.decay_start={STEPS // 2}",
        f"--config.optimizer.decay_steps={STEPS // 2}",
        *shape,
    )
    description, weights = loading.load_model(prior, "level_2")
    bundle.save_part(model / "level_2", description, weights)
    facts = {"sample_rate": 44100, "hops": [8, 32, 128], "levels": [2], "license": "CC0-1.0"}
    facts |= {"vocabulary": description["vocabulary"], "provenance": ["overfitted on purpose"]}
    bundle.save_bundle(model, facts)
    samples = tmp_path / "samples"
    run(
        "sample",
        f"--model={model}",
        "--levels=2",
        f"--seconds={TOP * 128 / 44100}",
        "--num_samples=4",
        "--artist=a",
        "--genre=house",
        f"--output={samples}",
    )
    flags = [f"--training={codes}", f"--vqvae={model}"]
    run("audit", f"--input={samples}", *flags, f"--output={tmp_path / 'made'}", code=3)
    items = json.loads((tmp_path / "made/audit.json").read_text())["items"]
    verdicts = [item["verdict"] for item in items]
    print(verdicts, [item["shares"] for item in items])
    assert verdicts.count("copied") >= 3

    controls = tmp_path / "controls"
    controls.mkdir()
    random = np.random.RandomState(0)
    audio.write_wav(controls / "noise.wav", random.normal(0, 0.2, 4 * 44100))
    other = Codec.load(model).decode(np.random.default_rng(7).integers(0, SIZE, TOP), 2)
    audio.write_wav(controls / "other.wav", 0.5 * other / np.abs(other).max())
    run("audit", f"--input={controls}", *flags, f"--output={tmp_path / 'new'}", code=0)
    items = json.loads((tmp_path / "new/audit.json").read_text())["items"]
    assert [item["verdict"] for item in items] == ["novel", "novel"]
