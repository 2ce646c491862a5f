"""A small prior with the settings of configs/house_lyrics.py learns to read its lyrics.

There is no sound: the code of a letter lasts as long as the letter is sung, so that letters tell
which code comes next, and the codes before tell when.
"""

import subprocess

import numpy as np
import pytest

from jukejax.data.corpus import Track
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.evaluation.heldout_bits import measure_heldout_bits
from jukejax.inference.loaded_model import Model
from tests.support import small_bundle
from tests.support.command import ROOT, command, environment

LETTERS, LENGTH = "abcdefghijkl", 160
FLAGS = (
    "--config=configs/house_lyrics.py:prior",
    "--config.steps=2000",
    "--config.data.batch_size=16",
    "--config.eval_every=0",
    "--config.checkpoint_every=2000",
    "--config.optimizer.learning_rate=4e-3",
    "--config.optimizer.decay_start=100",
    "--config.optimizer.decay_steps=1900",
    "--config.model.context_dropout=0.5",
    "--config.model.lookback=()",
    "--config.model.labels.max_genres=2",
    "--config.model.labels.turns=0",
    "--config.model.labels.min_duration=0.0",
    "--config.model.labels.max_duration=1.0",
    "--config.model.lyrics.num_tokens=32",
    "--config.model.transformer.emb_dim=64",
    "--config.model.transformer.num_layers=2",
    "--config.model.transformer.seq_len=48",
    "--config.model.transformer.attn_ratio=1.0",
)


def sing(random):
    """Returns a text and the codes of its letters [LENGTH]; each lasts 4 to 8 codes."""
    durations = random.integers(4, 9, LENGTH // 4)
    starts = np.concatenate([[0], np.cumsum(durations)])
    count = int(np.searchsorted(starts, LENGTH - 4))
    letters = [int(random.integers(len(LETTERS)))]
    while len(letters) < count:  # no letter is sung twice in a row
        letters.append((letters[-1] + int(random.integers(1, len(LETTERS)))) % len(LETTERS))
    codes = np.repeat(letters, np.diff([*starts[:count], LENGTH]))
    return " ".join(LETTERS[i] for i in letters), codes


def write_codes(folder):
    random = np.random.default_rng(0)
    songs = [sing(random) for _ in range(420)]
    vocabulary = Vocabulary.build(["anna"], ["house"], [text for text, _ in songs])
    info = {"codebook_size": 16, "vqvae": small_bundle.identify_vqvae()}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for number, (text, codes) in enumerate(songs):
            levels = {f"level_{k}": np.zeros(LENGTH * 4 ** (2 - k), int) for k in (0, 1)}
            track = Track(f"t{number}", "anna", ("house",), lyrics=text)
            writer.add("heldout" if number < 20 else "train", track, level_2=codes, **levels)


def run_verb(verb, *flags):
    subprocess.run(command(verb, *flags), cwd=ROOT, env=environment(xla_flags=""), check=True)


@pytest.mark.slow
def test_lyrics_save_bits(tmp_path):
    codes, model = tmp_path / "codes", tmp_path / "model"
    write_codes(codes)
    run_verb("train", *FLAGS, f"--config.data.folder={codes}", f"--workdir={tmp_path / 'prior'}")
    small_bundle.write(tmp_path / "codec", levels=())
    run_verb("export", f"--workdir={tmp_path / 'codec'},{tmp_path / 'prior'}", f"--output={model}")
    figures = measure_heldout_bits(Model(model), codes, 2, max_windows=0).values()
    bits = np.mean([values["bits_per_code"] for values in figures])
    saved = np.mean([values["lyric_bits"] for values in figures])
    # Without hidden codes (context_dropout) a model of this size and training stands at 1.1 bits,
    # what the durations and the order of letters alone tell, and saves 0.01.
    assert bits < 0.9
    assert saved > 0.5
