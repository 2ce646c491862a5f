"""Checkpoints that are kept for good, and the evaluations that they bring."""

import pytest

from jukejax.training import config_keys
from jukejax.training.loop import Training
from jukejax.weights import checkpoints
from tests.training.test_config_keys import TINY, parsed
from tests.training.test_loop import (  # noqa: F401
    codes,
    config_of,
    one_device,
    rows_of,
)


def train(codes, folder, **changes):  # noqa: F811
    config = config_of(codes, steps=9, eval_every=4, eval_batches=1, keep=1, keep_best=0, **changes)
    return Training(config, folder).run()


def test_milestones_are_kept_and_change_nothing_else(codes, tmp_path):  # noqa: F811
    plain = train(codes, tmp_path / "plain", checkpoint_every=2)
    summary = train(
        codes, tmp_path / "kept", checkpoint_every=2, checkpoint_at=(1, 3, 1000), keep_every=5
    )
    steps = {name: checkpoints.list_steps(tmp_path / name) for name in ("plain", "kept")}
    assert [saved.step for saved in steps["plain"]] == [9]
    assert [saved.step for saved in steps["kept"]] == [9, 5, 3, 1]
    assert plain["heldout"] == summary["heldout"]
    rows = rows_of(tmp_path / "kept", "heldout")
    assert [row["step"] for row in rows] == [1, 3, 4, 5, 8, 9]
    assert [row["step"] for row in rows_of(tmp_path / "plain", "heldout")] == [4, 8, 9]
    logged = {row["step"]: row["bits_per_code"] for row in rows}
    assert all(saved.heldout_loss == logged[saved.step] for saved in steps["kept"])


def test_milestones_survive_a_resumed_run_and_may_be_added_to_it(codes, tmp_path):  # noqa: F811
    first = config_of(codes, steps=2, keep=1, checkpoint_at=1)
    Training(first, tmp_path).run()
    Training(config_of(codes, steps=5, keep=1, checkpoint_at=(1, 4)), tmp_path).run()
    assert [saved.step for saved in checkpoints.list_steps(tmp_path)] == [5, 4, 1]


@pytest.mark.parametrize(
    ("text", "value"), [("33000", 33000), ("33000,53000,90000", (33000, 53000, 90000))]
)
def test_milestones_are_set_on_the_command_line(monkeypatch, text, value):
    config = parsed(monkeypatch, TINY, f"--config.checkpoint_at={text}", "--config.keep_every=500")
    assert (config.checkpoint_at, config.keep_every) == (value, 500)
    assert {"checkpoint_at", "keep_every"} <= config_keys.KEYS.keys()


@pytest.mark.parametrize(
    "flag", ["checkpoint_at=0", "checkpoint_at=5,1.5", "checkpoint_at=now", "keep_every=-1"]
)
def test_a_milestone_that_is_no_step_is_refused(monkeypatch, flag):
    with pytest.raises(ValueError, match=rf"config\.{flag.split('=')[0]} is .* a whole number"):
        parsed(monkeypatch, TINY, f"--config.{flag}")
