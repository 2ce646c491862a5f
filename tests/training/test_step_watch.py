"""A run says when no step has ended for long, counted by steps that are done, not dispatched."""

import time

import pytest

from jukejax.training import step_watch


class Result:
    """Stands for an array of a step that is still computed."""

    ready = False

    def is_ready(self):
        return self.ready


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(step_watch, "SILENCE_SECONDS", 0.2)


def test_only_ended_steps_are_progress(fast, capsys):
    result = Result()
    with step_watch.StepWatch(7) as watch:
        watch.add_step(8, result)
        time.sleep(0.7)
        assert watch.idle_seconds() > 0.5
        result.ready = True
        assert watch.idle_seconds() < 0.1
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) in (2, 3)
    assert all("no step has ended for 0:0" in line and "(the last was 7)" in line for line in lines)


def test_a_run_that_makes_progress_says_nothing(fast, capsys):
    with step_watch.StepWatch(0) as watch:
        for _ in range(8):
            time.sleep(0.05)
            watch.note_progress()
    assert capsys.readouterr().err == ""
