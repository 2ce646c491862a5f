"""Held-out evaluation in a run: its sample of windows, and its best checkpoint."""

import json

import numpy as np
import pytest

from jukejax.data import corpus, records
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.pages.runs import TrainingRun
from jukejax.training.loop import Training
from jukejax.weights import checkpoints
from tests.training.test_loop import config_of, one_device, rows_of  # noqa: F401

TRACKS = 3  # held out, of 6, 4 and 1 windows of 128 codes


@pytest.fixture(scope="module")
def three_tracks(tmp_path_factory):
    """Constant codes, which are learned at once, and three held-out tracks."""
    folder = tmp_path_factory.mktemp("three")
    info = {"codebook_size": 32, "vqvae": {"hash": "x"}, "vocabulary": Vocabulary()}
    with DatasetWriter(folder, kind="codes", **info) as writer:
        lengths = [("train", 2000), ("heldout", 800), ("heldout", 600), ("heldout", 200)]
        for number, (split, top) in enumerate(lengths):
            levels = {
                f"level_{k}": np.full(top * 128 // hop, 5) for k, hop in enumerate(records.HOPS)
            }
            writer.add(split, corpus.Track(f"t{number}", content=str(number)), **levels)
    return folder


def run(folder, workdir, **changes):
    changes = dict(eval_every=2, eval_batches=2, optimizer__warmup_steps=1) | changes
    training = Training(config_of(folder, **changes), workdir)
    return training, training.run()


def test_the_last_evaluation_can_be_the_best(three_tracks, tmp_path):
    """Step 5 is no multiple of eval_every."""
    run(three_tracks, tmp_path, steps=5, optimizer__learning_rate=0.03, keep=1)
    losses = {row["step"]: row["bits_per_code"] for row in rows_of(tmp_path, "heldout")}
    assert list(losses) == [2, 4, 5]
    assert losses[5] == min(losses.values()) < losses[2]
    best = checkpoints.find_best_step(tmp_path)
    assert (best.step, best.heldout_loss) == (5, losses[5])


def test_every_evaluation_sees_the_same_windows_of_all_tracks(three_tracks, tmp_path, capsys):
    training, summary = run(three_tracks, tmp_path, steps=4)
    rows = rows_of(tmp_path, "heldout")
    assert {row["windows"] for row in rows} == {4}
    batches = [
        [batch["track"].tolist() for batch in training.task.open_batches("heldout", None, 2)]
        for _ in range(2)
    ]
    assert batches[0] == batches[1] == [[0, 1], [1, 2]]
    assert set(summary["heldout_by_track"]["example_bits"]) == {"t1", "t2", "t3"}
    (whole,) = rows_of(tmp_path, "heldout_all")
    assert whole["windows"] == 10
    lines = [line for line in capsys.readouterr().err.splitlines() if "held out: " in line]
    assert [line.partition(", held out")[0] for line in lines] == [
        "step 2",
        "step 4",
        "step 4, 10 of 11 windows, all that fill a batch",
    ]
    assert whole["bits_per_code"] == pytest.approx(summary["heldout"]["bits_per_code"])


def test_figures_of_another_sample_are_not_compared(three_tracks, tmp_path, capsys):
    """The first sample's loss is set to one that no later one can reach."""
    run(three_tracks, tmp_path, steps=2, keep=5)
    (metrics,) = (tmp_path / "checkpoints" / "2").rglob("metrics/metrics")
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"loss": 0.0}))
    assert checkpoints.find_best_step(tmp_path).step == 2
    capsys.readouterr()
    run(three_tracks, tmp_path, steps=4, eval_batches=4, keep=5)
    said = capsys.readouterr().err
    assert "now use 8 of 11 windows, spread over tracks (before: 4 of 11 windows" in said
    assert checkpoints.find_best_step(tmp_path).step == 4
    series = TrainingRun.read(tmp_path).select_series("bits_per_code", "heldout")
    assert series[0] == [4]
    curves = {path.name for path in (tmp_path / "tensorboard").iterdir()}
    assert curves == {"train", "heldout", "heldout_8_windows", "heldout_all"}
