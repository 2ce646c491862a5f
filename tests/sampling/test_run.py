"""The folder of a run that breaks off at any write; time and first sound; steps in a thread.

A fake `sample_level` with its own answers stands in for the priors.
"""

import itertools
import json
import os
import re
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from jukejax.inference import generate
from jukejax.inference.loaded_model import Model
from jukejax.pages import report
from jukejax.sampling.folder import SampleFolder
from jukejax.sampling.run import first_targets, interruptible
from tests.support import small_bundle
from tests.support.small_sample import TOP, contents, make


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none"))


class Step(NamedTuple):
    """As what `sample_level` yields."""

    codes: np.ndarray
    parts: dict
    done: int
    total: int


def fake_level(config, weights, *, total, given, parts, schedule, **rest):
    """A level in pieces of a third, known by place and row; `parallel` draws every second first."""
    del weights, rest
    rows, size = len(given), -(-total // 3)
    made = (7 * np.arange(total) + config.level + np.arange(rows)[:, None]).astype(np.int32) % 16
    made[:, : given.shape[1]] = given
    codes, parts = given, dict(parts)
    later = range(size, total, 2 * size) if schedule == "parallel" else ()
    for row, place in itertools.product(range(rows), later):
        if place >= given.shape[1] and (row, place) not in parts:
            parts[row, place] = made[row, place : place + size]
            yield Step(codes, dict(parts), place, total)
    while codes.shape[1] < total:
        place = codes.shape[1]
        codes = made[:, : place - place % size + size]
        for row in range(rows):
            if (row, place) in parts:
                piece = parts.pop((row, place))
                np.testing.assert_array_equal(piece, made[row, place : place + size])
        yield Step(codes, dict(parts), codes.shape[1], total)


@pytest.fixture
def faked(model, monkeypatch):
    """The bundle with fake levels, no weights, and no pictures."""
    monkeypatch.setattr(generate, "sample_level", fake_level)
    monkeypatch.setattr(Model, "prior", lambda self, level: (self.config(level), None))
    monkeypatch.setattr(report, "write_sample_page", lambda folder: None)
    return model


class Killed(BaseException):
    """Nothing catches it: the process is gone."""


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"schedule": "parallel"},
        {"stream": True, "schedule": "parallel"},
        {"mode": "reroll", "reroll": (0.1, 0.3), "seconds": None, "candidates": 2},
    ],
    ids=["sequential", "parallel", "stream", "reroll"],
)
def test_killed_at_a_write_and_started_again_ends_with_the_same_bytes(
    faked, tmp_path, monkeypatch, asked, first
):
    """Killed before every sixth renaming of a file, with half of that file left behind."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr("jukejax.sampling.reroll.span_bits", lambda *_, begin, **more: begin)
    asked = asked | {"items": range(2)}
    if "reroll" in asked:
        levels = {f"level_{k}": np.zeros(TOP * 4 ** (2 - k), np.int32) for k in range(3)}
        np.savez(tmp_path / "given.npz", **levels)
        asked["codes"] = str(tmp_path / "given.npz")
    renamed, replace, left = [], os.replace, None

    def killed(source, target):
        if len(renamed) == left:
            renamed.append(source)
            raise Killed
        renamed.append(source)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        make(faked, tmp_path / "whole", **asked)
    expected, count = contents(tmp_path / "whole"), len(renamed)
    assert count > 50
    for number in range(first, count, 6):
        renamed, left = [], number
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            with pytest.raises(Killed):
                make(faked, tmp_path / f"at {number}", **asked)
        renamed[-1].write_bytes(b"half")
        make(faked, tmp_path / f"at {number}", **asked)
        assert contents(tmp_path / f"at {number}") == expected, number


def test_a_run_that_is_complete_changes_nothing(faked, tmp_path):
    make(faked, tmp_path, items=range(2), stream=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert len(before) == 2 * 4
    codes = make(faked, tmp_path, items=range(2), stream=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")} == before
    assert {level: len(value) for level, value in codes[0].items()} == {
        2: TOP,
        1: 4 * TOP,
        0: 16 * TOP,
    }


def test_time_is_counted_over_all_runs_that_worked_on_a_level(faked, tmp_path, monkeypatch):
    """The clock advances by a second whenever it is read."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks))
    monkeypatch.setattr("jukejax.sampling.run.time", clock)
    save, calls = SampleFolder.save_state, []

    def stop_once(self, level, state):
        calls.append(level)
        if len(calls) == 2:
            raise Killed
        save(self, level, state)

    monkeypatch.setattr(SampleFolder, "save_state", stop_once)
    with pytest.raises(Killed):
        make(faked, tmp_path, levels=(2,))
    before = json.loads((tmp_path / "item_000" / "meta.json").read_text())["timings"]["level_2"]
    make(faked, tmp_path, levels=(2,))
    meta = json.loads((tmp_path / "item_000" / "meta.json").read_text())
    assert meta["timings"]["level_2"] > before > 0
    cost = meta["timings"]["level_2"] / (TOP * 128 / 44100)
    assert meta["seconds_per_second_of_audio"] == pytest.approx(cost, abs=1e-3)


def test_streaming_says_when_there_was_sound_and_ends_as_the_finest_level(faked, tmp_path, capsys):
    make(faked, tmp_path, stream=True)
    assert re.search(r"first sound after \d+\.\d s: \S+stream\.wav", capsys.readouterr().out)
    item = tmp_path / "item_000"
    assert json.loads((item / "meta.json").read_text())["seconds_to_first_audio"] > 0
    stream, _ = soundfile.read(item / "stream.wav")
    finest, _ = soundfile.read(item / "level_0.wav")
    np.testing.assert_allclose(stream, finest, atol=2 / 32768)


def test_the_first_window_is_heard_in_pieces_that_double():
    assert first_targets(begin=0, first=10, seq_len=64, total=150) == [10, 20, 40, 150]
    assert first_targets(begin=30, first=10, seq_len=64, total=150) == [40, 50, 150]
    assert first_targets(begin=64, first=10, seq_len=64, total=150) == [150]
    assert first_targets(begin=0, first=10, seq_len=64, total=15) == [10, 15]
    assert first_targets(begin=0, first=80, seq_len=64, total=150) == [150]


def test_steps_run_in_a_thread_and_their_errors_arrive():
    def steps():
        yield 1
        yield 2
        raise ValueError("three")

    found = interruptible(steps())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
