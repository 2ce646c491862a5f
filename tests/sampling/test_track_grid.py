"""The grid of a track: requested values, and those of the prompt."""

from types import SimpleNamespace

import pytest

from jukejax.data.grid import Grid
from jukejax.sampling import track_grid

LABELS = SimpleNamespace(has_grid=True, tempo_bins=8, bar_bins=16, keys=24, num_sections=0)
MODEL = SimpleNamespace(sample_rate=44100, read_config=lambda level: SimpleNamespace(labels=LABELS))


@pytest.mark.parametrize(
    ("requested", "is_analyzed"),
    [
        ({"bpm": 120.0, "first_beat": 0.5, "key": "Am"}, False),
        ({"bpm": 120.0, "first_beat": 0.5, "key": None}, True),
        ({"bpm": None, "first_beat": 0.5, "key": "Am"}, True),
    ],
)
def test_a_prompt_is_analyzed_for_what_is_not_given(monkeypatch, requested, is_analyzed):
    request = SimpleNamespace(codes=None, prompt="a.wav", guidance={}, sections="auto", **requested)
    analyzed = []

    def estimate(prompt, model, request):
        analyzed.append(prompt)
        return Grid(90.0, 7.0, "Cm")

    monkeypatch.setattr(track_grid, "_estimate_grid", estimate)
    grid = track_grid.find_grid(MODEL, request, [2])
    assert bool(analyzed) == is_analyzed
    assert grid == Grid(requested["bpm"] or 90.0, 22050.0, requested["key"] or "Cm")
