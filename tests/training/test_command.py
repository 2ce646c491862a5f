"""What `train` says of the data before it trains."""

import numpy as np
import pytest

from jukejax.data import corpus, epochs
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.training.loop import Training
from tests.support.command import run_in_process

WINDOW = 128 * 128  # samples: 128 top-level codes, as in configs/tiny.py:prior


@pytest.fixture
def codes(tmp_path):
    """Code shards with two training tracks and one held-out track shorter than a window."""
    folder, random = tmp_path / "codes", np.random.RandomState(0)
    info = {"codebook_size": 2048, "vqvae": {"hash": "x"}, "separator": "none", "source": ""}
    lengths = {"train": (600, 127, 600, 20), "heldout": (300, 30, 300)}
    with DatasetWriter(folder, kind="codes", vocabulary=Vocabulary(), **info) as writer:
        for split, tops in lengths.items():
            for top in tops:
                levels = {f"level_{2 - k}": random.randint(0, 2048, top * 4**k) for k in range(3)}
                writer.add(split, corpus.Track(f"{split}{top}"), **levels)
    return folder


def test_tracks_shorter_than_a_window_are_named_at_the_start_and_in_a_dry_run(
    codes, tmp_path, monkeypatch
):
    flags = ("--config=configs/tiny.py:prior", f"--config.data.folder={codes}")
    flags += ("--config.steps=1", "--config.eval_every=0", "--config.data.batch_size=2")
    lines = [
        "2 of 4 train tracks are shorter than a window (0.37 s, model.seq_len) and not used: "
        "train127, train20",
        "1 of 3 heldout tracks is shorter than a window (0.37 s, model.seq_len) and not used: "
        "heldout30",
    ]
    planned = run_in_process("train", *flags, "--dry_run").stdout.splitlines()
    assert [line for line in planned if "shorter" in line] == lines
    monkeypatch.setattr(Training, "run", lambda training: {"heldout": {}})
    stderr = run_in_process("train", *flags, f"--workdir={tmp_path / 'run'}").stderr.splitlines()
    assert [line for line in stderr if "shorter" in line] == [f"warning: {line}" for line in lines]


def test_the_first_of_many_short_tracks_are_named():
    tracks = [corpus.Track(f"t{i}", samples=WINDOW - i % 2) for i in range(20)]
    line = epochs.describe_short_tracks(tracks, size=WINDOW, split="train", key="data.window")
    assert line.startswith("10 of 20 train tracks are shorter")
    assert line.endswith("(0.37 s, data.window) and not used: t1, t3, t5, t7, t9 and 5 more")
    assert (
        epochs.describe_short_tracks(tracks, size=WINDOW - 1, split="train", key="data.window")
        is None
    )
