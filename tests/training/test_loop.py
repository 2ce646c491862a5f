"""The loop: where a run ends, what it says on the way, and what it refuses."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from jukejax.training import run_log
from jukejax.training.loop import Training
from jukejax.weights import checkpoints
from tests.support.command import ROOT
from tests.support.small_codes import write_codes


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    return write_codes(tmp_path_factory.mktemp("codes"))


def config_of(codes, **changes):
    """Returns configs/tiny.py:prior with one layer and changes as `schedule__anneal_steps=3`."""
    spec = importlib.util.spec_from_file_location("tiny", ROOT / "configs" / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("prior")
    config.data.folder = str(codes)
    config.model.transformer.update(num_layers=1, emb_dim=16)
    config.checkpoint_every, config.eval_every, config.sample_every = 1000, 0, 0
    config.mesh = dict(data=1)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if not key:
            config[section] = value
        else:
            config[section] = config.get(section, {})
            config[section][key] = value
    return config


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *args: devices)


def rows_of(workdir, split):
    return [row for row in run_log.read_metrics(workdir / "metrics.jsonl") if row["split"] == split]


def test_a_run_ends_where_its_rate_reaches_zero_and_stays_ended(codes, tmp_path, capsys):
    changes = dict(
        steps=100, schedule__anneal_at_bits=100.0, schedule__smoothing=4, schedule__anneal_steps=6
    )
    config = config_of(codes, optimizer__decay_start=None, **changes)
    summary = Training(config, tmp_path).run()
    rates = [row["learning_rate"] for row in rows_of(tmp_path, "train")]
    assert summary["steps"] == len(rates) == 4 + 6
    assert summary["ended"]
    np.testing.assert_allclose(rates[4:], 1e-3 * np.arange(6, 0, -1) / 6, rtol=1e-4)
    assert Training(config, tmp_path).run() == summary
    assert "is finished: 10 steps" in capsys.readouterr().err


def test_a_run_without_progress_is_stopped_and_its_best_checkpoint_kept(codes, tmp_path, capsys):
    """The first step has rate zero, and the next ones destroy the weights."""
    changes = dict(steps=100, eval_every=1, eval_batches=1, keep=1)
    changes |= dict(schedule__stop_on_stall=2, optimizer__learning_rate=1.0)
    summary = Training(config_of(codes, **changes), tmp_path).run()
    assert summary["steps"] == 3
    assert "stopped: no better held-out loss at step 3" in capsys.readouterr().err
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [1, 3]
    assert checkpoints.find_best_step(tmp_path).step == 1
    rows = rows_of(tmp_path, "heldout")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows_of(tmp_path, "heldout_all")] == [3]
    last = rows_of(tmp_path, "train")[-1]["loss"]
    assert abs(rows[0]["gap"]) < 1.0
    assert last > 3
    (tmp_path / "summary.json").unlink()  # as if killed while it ended
    assert Training(config_of(codes, **changes), tmp_path).run()["steps"] == 3


def test_too_little_held_out_music_is_said_before_the_first_step(codes, tmp_path):
    windows = Training(config_of(codes, steps=1), tmp_path).task.epoch_size
    config = config_of(codes, steps=1, data__batch_size=windows)
    with pytest.raises(ValueError, match=r"the heldout split has .* windows and a batch needs"):
        Training(config, tmp_path).run()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_held_out_bits_are_told_by_track(codes, tmp_path):
    summary = Training(config_of(codes, steps=2), tmp_path).run()
    by_track = summary["heldout_by_track"]["example_bits"]
    assert set(by_track) == {"t0"}
    np.testing.assert_allclose(by_track["t0"], summary["heldout"]["bits_per_code"], rtol=1e-5)


def test_repetition_is_told_at_four_and_sixteen_epochs(codes, tmp_path, capsys):
    training = Training(config_of(codes, steps=1), tmp_path)
    windows = training.task.epoch_size
    batch = training.config.data.batch_size
    capsys.readouterr()
    for step in (4 * windows // batch - 1, 4 * windows // batch + 1, 16 * windows // batch + 1):
        training.pace.warn_of_repetition(step, 2)
    said = capsys.readouterr().err
    assert said.count("every window has been seen 4 times") == 1
    assert said.count("every window has been seen 16 times") == 1


def test_other_data_under_a_run_is_refused(codes, tmp_path):
    work, data = tmp_path / "work", tmp_path / "data"
    write_codes(data)
    Training(config_of(data, steps=2), work).run()
    write_codes(data, seed=1)
    for steps in (4, 2):  # the run continues, or is finished
        with pytest.raises(ValueError, match=r"is not the data that .* began with"):
            Training(config_of(data, steps=steps), work).run()


def test_a_damaged_summary_of_a_finished_run_is_named(codes, tmp_path):
    (tmp_path / "summary.json").write_text('{"steps": "two"}')
    with pytest.raises(ValueError, match=r"summary.json.steps is 'two', not an integer"):
        Training(config_of(codes, steps=2), tmp_path).run()


def test_what_a_run_computes_may_not_change_but_how_may(codes, tmp_path):
    Training(config_of(codes, steps=2), tmp_path).run()
    with pytest.raises(ValueError, match=r"was begun with config\.seed=0, not 1"):
        Training(config_of(codes, steps=4, seed=1), tmp_path)
    summary = Training(config_of(codes, steps=4, accumulate=2), tmp_path).run()
    assert summary["steps"] == 4
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["accumulate"] == 2
    assert int(checkpoints.read_state(tmp_path)["step"]) == 4
