"""Traces of training steps: which steps they hold, and the values that are refused."""

import glob

import jax
import pytest

from jukejax.training import config_values
from jukejax.training.loop import Training
from jukejax.weights import checkpoints
from tests.training.test_config_keys import TINY, parsed
from tests.training.test_loop import codes, config_of, one_device  # noqa: F401


def read_steps(folder):
    """Returns the steps in each trace below a folder, and whether operations are in it too."""
    traces = []
    for path in sorted(glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)):
        events = [
            (event.name, dict(event.stats))
            for plane in jax.profiler.ProfileData.from_file(path).planes
            for line in plane.lines
            for event in line.events
        ]
        steps = {stats["step_num"] for name, stats in events if name == "train"}
        traces.append((sorted(steps), any("dot" in name for name, _ in events)))
    return traces


def test_a_run_traces_its_steps_and_a_resumed_one_the_rest(codes, tmp_path, capsys):  # noqa: F811
    Training(config_of(codes, steps=3, profile="2:4"), tmp_path).run()
    assert read_steps(tmp_path / "profile") == [([2, 3], True)]
    assert f"traced steps: {tmp_path / 'profile'}" in capsys.readouterr().err
    Training(config_of(codes, steps=5, profile="2:4"), tmp_path).run()
    assert sorted(read_steps(tmp_path / "profile")) == [([2, 3], True), ([4], True)]
    assert checkpoints.list_steps(tmp_path)[0].step == 5


@pytest.mark.parametrize("text", ["10", "5:3", "0:2", "a:b", "1:2:3", "-1:2", "1.5:2"])
def test_a_span_that_is_none_is_refused(monkeypatch, text):
    with pytest.raises(ValueError, match=r"config\.profile is .*: it must be FIRST:LAST"):
        parsed(monkeypatch, TINY, f"--config.profile={text}")


def test_a_span_is_read_and_one_after_the_run_refused(monkeypatch):
    config = parsed(monkeypatch, TINY, "--config.profile=3:12")
    assert config_values.parse_span(config.profile) == range(3, 13)
    with pytest.raises(ValueError, match=r"config\.profile is '13:14', and the run has 12 steps"):
        parsed(monkeypatch, TINY, "--config.profile=13:14")
