"""The grid of a track: requested values, and those of the prompt."""

from types import SimpleNamespace

import pytest

from jukejax.data.grid import Grid
from jukejax.models.label_config import LabelConfig
from jukejax.sampling import track_grid
from jukejax.sampling.source import SourceTrack

LABELS = LabelConfig(1, 1, tempo_bins=8, bar_bins=16, keys=24)
MODEL = SimpleNamespace(sample_rate=44100, read_config=lambda level: SimpleNamespace(labels=LABELS))


def make_request(**values):
    sources = {"codes": None, "prompt": None, "guidance": {}, "sections": "auto"}
    return SimpleNamespace(**{"first_beat": None, "key": None} | sources | values)


@pytest.mark.parametrize(
    ("requested", "is_analyzed"),
    [
        ({"bpm": 120.0, "first_beat": 0.5, "key": "Am"}, False),
        ({"bpm": 120.0, "first_beat": 0.5, "key": None}, True),
        ({"bpm": None, "first_beat": 0.5, "key": "Am"}, True),
    ],
)
def test_a_prompt_is_analyzed_for_what_is_not_given(monkeypatch, requested, is_analyzed):
    request = make_request(prompt="a.wav", **requested)
    analyzed = []

    def estimate(prompt, model, request):
        analyzed.append(prompt)
        return Grid(90.0, 7.0, "Cm")

    monkeypatch.setattr(track_grid, "_estimate_grid", estimate)
    grid = track_grid.find_grid(MODEL, request, [2])
    assert bool(analyzed) == is_analyzed
    assert grid == Grid(requested["bpm"] or 90.0, 22050.0, requested["key"] or "Cm")


def test_a_source_keeps_its_sections_at_another_tempo():
    sections = (("intro", 0.0), ("drop", 88200.0))
    source = SourceTrack({}, Grid(120.0, 0.0, "Am", sections))
    request = make_request(codes=source, bpm=124.0)
    assert track_grid.find_grid(MODEL, request, [2]) == Grid(124.0, 0.0, "Am", sections)


@pytest.mark.parametrize(
    ("labels", "is_known"),
    [
        ({}, False),
        ({"tempo_bins": 8}, True),
        ({"phrase_bars": 4}, True),
        ({"num_sections": 4}, True),
    ],
)
def test_a_tempo_is_of_use_to_models_with_tempo_bars_or_sections(capsys, labels, is_known):
    config = SimpleNamespace(labels=LabelConfig(1, 1, **labels))
    model = SimpleNamespace(sample_rate=44100, folder="model", read_config=lambda level: config)
    request = make_request(bpm=124.0)
    track_grid.find_grid(model, request, [2])
    assert ("--bpm does not change how it plays" in capsys.readouterr().err) != is_known
