"""The progress line: what it says and how often."""

import pytest

from jukejax.common import files, progress
from jukejax.common.formatting import format_clock
from jukejax.common.progress import Progress, track_progress


@pytest.fixture
def tick(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (3725, "1:02:05")]
)
def test_times_read_as_on_a_clock(seconds, text):
    assert format_clock(seconds) == text


def test_the_eta_is_the_time_a_unit_took_times_what_is_left(tick, capsys):
    report = Progress("training", 10, every=0)
    tick(30)
    report.update(3, "loss 1.5")
    assert capsys.readouterr().err == "training 3/10 30% eta 1:10  loss 1.5\n"


def test_a_resumed_run_counts_only_its_own_work(tick, capsys):
    report = Progress("training", 100, done=90, every=0)
    tick(10)
    report.update(95)
    assert "95/100 95% eta 0:10" in capsys.readouterr().err


def test_the_end_says_how_long_it_took(tick, capsys):
    report = Progress("encoding", 4)
    tick(3)
    report.update(4)
    assert capsys.readouterr().err == "encoding 4/4 100% in 0:03\n"


def test_a_log_gets_few_lines_and_always_the_last(tick, capsys):
    for _ in track_progress(range(100), total=100, label="preparing"):
        tick(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 6
    assert lines[-1].startswith("preparing 100/100 100% in")


def test_nothing_to_do_does_not_divide_by_zero(capsys):
    Progress("encoding", 0).update(0)
    assert "0/0" in capsys.readouterr().err


def test_track_hands_on_its_items():
    assert list(track_progress(iter("abc"), total=3, label="x")) == ["a", "b", "c"]


def test_the_first_units_can_be_left_out_of_the_estimate(tick, capsys):
    report = Progress("training", 100, every=0)
    tick(600)  # compilation
    report.restart_estimate(2)
    report.update(2)
    assert "2/100 2% eta ?" in capsys.readouterr().err
    tick(4)
    report.update(4)
    assert "4/100 4% eta 3:12" in capsys.readouterr().err
    tick(1)
    report.update(100)
    assert "100% in 10:05" in capsys.readouterr().err


def test_a_long_estimate_is_in_days(tick, capsys):
    report = Progress("training", 1000, every=0)
    tick(3600)
    report.update(1)
    assert "eta 42 days" in capsys.readouterr().err


def test_another_program_reads_the_progress_in_a_file(tick, tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv(progress.PROGRESS_FILE, str(path))
    report = Progress("level 2, codes", 100, done=20)
    assert files.read_json(path) == {
        "label": "level 2, codes",
        "done": 20,
        "total": 100,
        "eta_seconds": None,
        "note": "",
    }
    tick(10)
    report.update(40, "window 2")
    assert files.read_json(path)["eta_seconds"] == 30
    tick(0.1)
    report.update(41)
    assert files.read_json(path)["done"] == 40, "not more than twice a second"
    report.update(100)
    assert files.read_json(path)["done"] == 100


def test_a_progress_file_that_cannot_be_written_does_not_stop_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.PROGRESS_FILE, str(tmp_path / "missing" / "progress.json"))
    Progress("encoding", 4).update(4)
