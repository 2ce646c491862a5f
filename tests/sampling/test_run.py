"""Runs that are killed at any write; times and first sound; steps in a thread.

A fake `sample_level` replaces the priors, and a fake `decode` the codec.
"""

import itertools
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from jukejax.inference import generate
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model
from jukejax.inference.schedules import LevelProgress
from jukejax.pages import report
from jukejax.sampling.folder import SampleFolder
from jukejax.sampling.streaming import find_stream_targets
from jukejax.sampling.threads import iterate_in_thread
from tests.support import small_bundle
from tests.support.killed_sampling import Killed
from tests.support.small_sample import TOP, read_files, sample


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none"))


def sample_fake_level(config, weights, tracks, settings, *, pending):
    """Samples thirds of a level, known by position and row; "parallel": every second one first."""
    del weights
    total, rows, size = tracks.total, len(tracks.codes), -(-tracks.total // 3)
    expected = (7 * np.arange(total) + config.level + np.arange(rows)[:, None]).astype(
        np.int32
    ) % 16
    expected[:, : tracks.codes.shape[1]] = tracks.codes
    codes, pending = tracks.codes, dict(pending)
    later = range(size, total, 2 * size) if settings.schedule == "parallel" else ()
    for row, place in itertools.product(range(rows), later):
        if place >= tracks.codes.shape[1] and (row, place) not in pending:
            pending[row, place] = expected[row, place : place + size]
            yield LevelProgress(codes, dict(pending), place, total)
    while codes.shape[1] < total:
        place = codes.shape[1]
        codes = expected[:, : place - place % size + size]
        for row in range(rows):
            if (row, place) in pending:
                window = pending.pop((row, place))
                np.testing.assert_array_equal(window, expected[row, place : place + size])
        yield LevelProgress(codes, dict(pending), codes.shape[1], total)


def decode_fake(codec, codes, level, begin=0, end=None):
    """Holds each code's number for its duration, float32 [time, 1]."""
    sound = np.repeat(codes[begin:end], codec.config.hops[level])
    return sound[:, None].astype(np.float32) / 16


@pytest.fixture
def faked(model, monkeypatch):
    """The bundle with fake levels and sounds, no weights, and no pictures."""
    monkeypatch.setattr(generate, "sample_level", sample_fake_level)
    monkeypatch.setattr(Model, "load_prior", lambda self, level: (self.read_config(level), None))
    monkeypatch.setattr(report, "write_sample_page", lambda folder: None)
    monkeypatch.setattr(Codec, "decode", decode_fake)
    monkeypatch.setattr(Codec, "decode_range", decode_fake)
    return model


RUNS = {
    "sequential": {},
    "parallel": {"schedule": "parallel"},
    "stream": {"stream": True, "schedule": "parallel"},
    "reroll": {"mode": "reroll", "reroll": (0.1, 0.3), "seconds": None, "candidates": 2},
}
BY_DEFAULT = {("sequential", 0), ("stream", 3), ("reroll", 0)}  # (run, first write)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        pytest.param(
            RUNS[run],
            first,
            id=f"{run}-{first}",
            marks=() if (run, first) in BY_DEFAULT else pytest.mark.slow,
        )
        for run, first in itertools.product(RUNS, (0, 3))
    ],
)
def test_run_killed_at_a_write_is_resumed_and_ends_with_the_same_bytes(
    faked, tmp_path, monkeypatch, values, first
):
    """Killed before every sixth renaming of a file, with half of that file left behind."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr("jukejax.sampling.reroll.compute_span_bits", lambda *_, begin: begin)
    values = values | {"items": range(2)}
    if "reroll" in values:
        levels = {f"level_{k}": np.zeros(TOP * 4 ** (2 - k), np.int32) for k in range(3)}
        np.savez(tmp_path / "given.npz", **levels)
        values["codes"] = str(tmp_path / "given.npz")
    renamed, replace, last = [], os.replace, None

    def replace_until_killed(source, target):
        if len(renamed) == last:
            renamed.append(source)
            raise Killed
        renamed.append(source)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_until_killed)
        sample(faked, tmp_path / "uninterrupted", **values)
    expected, count = read_files(tmp_path / "uninterrupted"), len(renamed)
    assert count > 50
    for number in range(first, count, 6):
        renamed, last = [], number
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace_until_killed)
            with pytest.raises(Killed):
                sample(faked, tmp_path / f"at {number}", **values)
        renamed[-1].write_bytes(b"half")
        sample(faked, tmp_path / f"at {number}", **values)
        assert read_files(tmp_path / f"at {number}") == expected, number


def test_complete_run_changes_nothing(faked, tmp_path):
    sample(faked, tmp_path, items=range(2), stream=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert len(before) == 2 * 4
    codes = sample(faked, tmp_path, items=range(2), stream=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")} == before
    assert {level: len(value) for level, value in codes[0].items()} == {
        2: TOP,
        1: 4 * TOP,
        0: 16 * TOP,
    }


def test_bars_end_at_the_sample(faked, tmp_path):
    seconds = 4 * 60 / 557.0  # a bar at 557 BPM ends within a code
    sample(faked, tmp_path, seconds=seconds, is_exact=True, stream=True)
    for level in range(3):
        sound = soundfile.SoundFile(tmp_path / "item_000" / f"level_{level}.wav")
        assert sound.frames == round(seconds * 44100)
        assert sound.frames % 128


def test_time_of_a_level_is_summed_over_all_runs(faked, tmp_path, monkeypatch):
    """The clock advances by a second whenever it is read."""
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks))
    monkeypatch.setattr("jukejax.sampling.folder.time", clock)
    save, calls = SampleFolder.save_state, []

    def stop_once(self, level, state):
        calls.append(level)
        if len(calls) == 2:
            raise Killed
        save(self, level, state)

    monkeypatch.setattr(SampleFolder, "save_state", stop_once)
    with pytest.raises(Killed):
        sample(faked, tmp_path, levels=(2,))
    before = json.loads((tmp_path / "item_000" / "meta.json").read_text())["timings"]["level_2"]
    sample(faked, tmp_path, levels=(2,))
    meta = json.loads((tmp_path / "item_000" / "meta.json").read_text())
    assert meta["timings"]["level_2"] > before > 0
    cost = meta["timings"]["level_2"] / (TOP * 128 / 44100)
    assert meta["seconds_per_second_of_audio"] == pytest.approx(cost, abs=1e-3)


def test_stream_reports_the_first_sound_and_ends_as_the_finest_level(faked, tmp_path, capsys):
    sample(faked, tmp_path, stream=True)
    assert re.search(r"first sound after \d+\.\d s: \S+stream\.wav", capsys.readouterr().out)
    item = tmp_path / "item_000"
    assert json.loads((item / "meta.json").read_text())["seconds_to_first_audio"] > 0
    stream, _ = soundfile.read(item / "stream.wav")
    finest, _ = soundfile.read(item / "level_0.wav")
    np.testing.assert_allclose(stream, finest, atol=2 / 32768)


def test_stream_targets_in_the_first_window_double():
    assert find_stream_targets(begin=0, first=10, seq_len=64, total=150) == [10, 20, 40, 150]
    assert find_stream_targets(begin=30, first=10, seq_len=64, total=150) == [40, 50, 150]
    assert find_stream_targets(begin=64, first=10, seq_len=64, total=150) == [150]
    assert find_stream_targets(begin=0, first=10, seq_len=64, total=15) == [10, 15]
    assert find_stream_targets(begin=0, first=80, seq_len=64, total=150) == [150]


def test_steps_run_in_a_thread_and_their_errors_are_raised():
    def steps():
        yield 1
        yield 2
        raise ValueError("three")

    results = iterate_in_thread(steps())
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
