"""Results that a pipeline or an export has stored are checked when they are read."""

import json
from dataclasses import asdict

import pytest

from jukejax.preparation import beam_runner, tfds_source
from jukejax.preparation.prepared_track import PreparedTrack, Source

ROW = asdict(PreparedTrack("a", array="a.npy", samples=4, channels=1, notes=["n"]))
EXAMPLE = {"file": "train-000000.wav", "artist": "", "genre": "house"}


def test_results_are_read_in_the_order_of_the_sources(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([ROW, ROW | {"name": "b"}]))
    results = beam_runner.read_results(path, [Source("b"), Source("a")])
    assert [result.name for result in results] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "results.json is damaged: it holds no list"),
        (json.dumps([ROW | {"samples": "all"}]), r"results.json\[0\].samples is 'all', not an int"),
        (json.dumps([ROW | {"notes": [3]}]), r"results.json\[0\].notes\[0\] is 3, not text"),
        (json.dumps([ROW | {"name": "c"}]), "results.json is damaged: it lacks a"),
    ],
    ids=["list", "type", "entry", "source"],
)
def test_damaged_results_are_named_with_field_and_value(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        beam_runner.read_results(path, [Source("a")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "Expecting"),
        ("{}", "it holds no list"),
        (json.dumps([EXAMPLE | {"artist": 3}]), "index.json[0].artist is 3, not text"),
        (json.dumps([{"file": "a.wav"}]), "index.json[0] lacks artist, genre"),
    ],
    ids=["json", "list", "type", "missing"],
)
def test_a_damaged_index_of_exported_examples_is_made_again_with_a_line(
    tmp_path, capsys, text, message
):
    index = tmp_path / "index.json"
    index.write_text(text)
    assert tfds_source.read_index(str(index)) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{index} is damaged (")
    assert message in line
    assert line.endswith("it is made again")


def test_a_sound_index_of_exported_examples_is_read(tmp_path):
    assert tfds_source.read_index(str(tmp_path / "index.json")) is None
    (tmp_path / "index.json").write_text(json.dumps([EXAMPLE]))
    assert tfds_source.read_index(str(tmp_path / "index.json")) == [tfds_source.Example(**EXAMPLE)]
