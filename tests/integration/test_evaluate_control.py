"""The control table of `evaluate`: tracks that follow what was asked for, and others."""

import json

import pytest

from jukejax.data import audio
from jukejax.preparation import house
from tests.support.command import run_in_process


def write_items(folder, asked_bpm):
    """Writes a track as if it was sampled at each of these tempi."""
    track = house.track(3, seconds=16.0, seed=5)
    for number, bpm in enumerate(asked_bpm):
        item = folder / f"item_{number:03d}"
        item.mkdir(parents=True)
        grid = {"bpm": bpm or track.bpm, "first_downbeat": 0.0, "key": track.key}
        meta = {"seconds": 16.0, "grid": grid, "loop": number == 0}
        (item / "meta.json").write_text(json.dumps(meta))
        audio.write_wav(item / "level_2.wav", track.mix)


def test_asked_and_measured_are_compared_track_by_track(tmp_path):
    write_items(tmp_path / "in", [None, 100.0])
    done = run_in_process("evaluate", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}")
    assert "asked against measured" in done.stdout
    report = json.loads((tmp_path / "out" / "evaluate.json").read_text())
    right, wrong = (report["control"][f"item_{number:03d}"] for number in range(2))
    assert (right["asked_tempo_hit"], wrong["asked_tempo_hit"]) == (1.0, 0.0)
    assert right["asked_beat_offset"] < 6
    assert "loop_hit" in right
    assert "loop_hit" not in wrong
    rows = {row["metric"]: row for row in report["rows"] if row["part"] == "asked against measured"}
    assert rows["asked_tempo_hit"]["input"]["mean"] == pytest.approx(0.5)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Asked against measured" in page
