"""Entries of the cache that are damaged are made again, and named."""

import dataclasses
import json

import numpy as np
import pytest

from jukejax.analysis.fingerprint import extract_landmarks
from jukejax.preparation import track_cache
from jukejax.preparation.prepared_track import PreparedTrack

SOUND = np.random.default_rng(0).integers(-9000, 9000, (44100, 2)).astype(np.int16)


@pytest.fixture
def entry(tmp_path):
    entry = tmp_path / "entry"
    landmarks = extract_landmarks(SOUND.mean(axis=1) / 32768)
    prepared = PreparedTrack("a", samples=len(SOUND), channels=2, notes=["n"])
    track_cache.write_entry(entry, prepared, landmarks, [SOUND])
    return entry


def change_facts(entry, **values):
    path = entry.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(suffix, size):
    def damage(entry):
        path = entry.with_suffix(suffix)
        path.write_bytes(path.read_bytes()[:size])

    return damage


def test_an_entry_is_read_as_it_was_written(entry, capsys):
    prepared = track_cache.read_entry(entry, "b")
    assert (prepared.name, prepared.notes) == ("b", ["n"])
    np.testing.assert_array_equal(np.load(prepared.array), SOUND)
    assert track_cache.read_entry(entry.with_name("none"), "b") is None
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(".json", 20), "entry.json is damaged"),
        (cut(".npy", 1000), "entry.json is damaged"),
        (cut(".npz", 100), "entry.json is damaged"),
        (lambda entry: entry.with_suffix(".npz").unlink(), "No such file"),
        (lambda entry: change_facts(entry, samples="all"), "samples is 'all', not an integer"),
        (lambda entry: change_facts(entry, samples=7), "entry.npy is int16 [44100, 2]"),
        (lambda entry: change_facts(entry, more=7), "unknown key entry.json.more"),
    ],
    ids=["facts", "sound", "landmarks", "no landmarks", "type", "length", "key"],
)
def test_a_damaged_entry_is_made_again_with_a_line(entry, capsys, damage, message):
    damage(entry)
    assert track_cache.read_entry(entry, "b") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert line.endswith(": it is made again")


def test_a_damaged_record_is_read_as_none(tmp_path, capsys):
    path = tmp_path / "record.json"
    assert track_cache.read_record(path) is None
    grid = {"bpm": "124", "first_beat": "", "key": "Am", "sections": ""}
    lyrics = {"text": "la", "times": ((0, 1.5),)}
    facts = {
        "content": "c",
        "artist": "a",
        "genre": "g",
        "grid": grid,
        "lyrics": lyrics,
        "notes": [],
    }
    path.write_text(json.dumps(facts))
    assert dataclasses.asdict(track_cache.read_record(path)) == facts
    assert not capsys.readouterr().err
    path.write_text(json.dumps({"content": "c"}))
    assert track_cache.read_record(path) is None
    assert "record.json lacks artist, genre, grid, lyrics, notes" in capsys.readouterr().err
