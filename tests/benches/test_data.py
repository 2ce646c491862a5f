"""`bench data`: its rows, and the folders that it refuses."""

import json

import numpy as np
import pytest

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from tests.support.command import run_in_process

COMMON = {
    "bench", "what", "config", "batch", "device", "dtype", "seconds", "compile_seconds",
    "peak_memory_bytes",
}  # fmt: skip
CONFIG = """
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict(dict(task="vqvae", seed=0, dtype="float32", steps=10))
    config.data = dict(folder="", window=2048, batch_size=2)
    config.model = dict(
        downs=(1,), strides=(4,), multipliers=(1,), width=4, depth=1, emb_dim=4, codebook_size=8
    )
    config.loss = dict(linf_k=16, multispectral_n_fft=(256,), multispectral_hop=(60,),
                       multispectral_window=(240,))
    config.optimizer = dict(learning_rate=1e-3, warmup_steps=2, decay_start=8, decay_steps=2)
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    with DatasetWriter(folder, kind="audio", vocabulary=Vocabulary(), separator="none") as writer:
        for i in range(2):
            sound = random.integers(-9000, 9000, (33 * 44100, 2)).astype(np.int16)
            writer.add("train", corpus.Track(f"t{i}"), audio=sound)
        writer.add("heldout", corpus.Track("h"), audio=sound[:44100])
    return folder


def test_every_part_has_a_row_with_the_fields_of_the_contract(folder, tmp_path):
    config = tmp_path / "small.py"
    config.write_text(CONFIG)
    flags_ = (f"--config={config}", f"--input={folder}", "--seconds=0.1", "--excerpt=1")
    out = run_in_process("bench", "data", "--json", *flags_).stdout
    rows = {row["what"]: row for row in map(json.loads, out.splitlines())}
    assert {"prepare", "separate repet", "encode all levels", "train"} <= set(rows)
    for row in rows.values():
        assert set(row) == COMMON | {"batches_per_s", "x_realtime", "data_wait"}
        assert row["bench"] == "data"
        assert row["seconds"] > 0
        assert row["x_realtime"] > 0
        assert row["peak_memory_bytes"] > 20e6
        assert row["device"] == "cpu"
    load = rows["load 8 windows of 8 s"]
    assert load["batch"] == 8
    assert load["x_realtime"] == pytest.approx(64 * load["batches_per_s"], rel=1e-3)
    assert load["peak_memory_bytes"] < 600e6
    assert rows["train"]["config"] == rows["encode all levels"]["config"] == "small"
    assert 0 <= rows["train"]["data_wait"] <= 1
    assert rows["prepare"]["data_wait"] is None


def test_folder_without_a_corpus_is_refused(tmp_path):
    error = run_in_process("bench", "data", f"--input={tmp_path}", code=2).stderr
    assert error.startswith(f"error: {tmp_path} has no dataset.json")
