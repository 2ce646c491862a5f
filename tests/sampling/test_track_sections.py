"""The sections of tracks to sample: requested, of the source, or drawn."""

import dataclasses
from types import SimpleNamespace

import pytest

from jukejax.data.grid import Grid
from jukejax.inference.conditioning import Labels
from jukejax.models.label_config import LabelConfig
from jukejax.sampling.initial_state import InitialState
from jukejax.sampling.source import SourceTrack
from jukejax.sampling.track_grid import find_grid
from jukejax.sampling.track_sections import add_sections
from tests.support.small_sample import make_request

RATE, HOP, BPM = 44100, 128, 120.0
BAR = 4 * 60 * RATE / BPM
SOURCE = SourceTrack(codes={})


def make_model(num_sections=8):
    labels = LabelConfig(1, 1, tempo_bins=8, bar_bins=16, keys=24, num_sections=num_sections)
    config = SimpleNamespace(labels=labels)
    return SimpleNamespace(
        sample_rate=RATE, hops=(8, 32, HOP), folder="model", read_config=lambda level: config
    )


def make_state(bars=32, grid=None, prompt_seconds=0.0):
    grid = Grid(BPM, 0.0) if grid is None else grid
    labels = {2: Labels(0, (0,), 10**6, grid=grid)}
    return InitialState([2], {2: round(bars * BAR / HOP)}, {}, prompt_seconds, labels, grid)


def find_sections(state, item=0, model=None, **values):
    return add_sections(model or make_model(), make_request(**values), state, item).grid.sections


def test_requested_sections_begin_at_bar_1():
    grid = Grid(BPM, 1000.0)
    state = add_sections(
        make_model(), make_request(sections="intro:4,drop:8"), make_state(grid=grid), 0
    )
    assert state.grid.sections == (("intro", 1000.0), ("drop", 1000.0 + 4 * BAR))
    assert state.labels[2].grid == state.grid


def test_drawn_sections_derive_from_seed_and_item_and_fill_the_track():
    state = make_state(bars=64)
    drawn = [find_sections(state, item, items=range(6)) for item in range(6)]
    assert len(set(drawn)) > 1
    assert drawn[3] == find_sections(state, 3, items=range(3, 4))
    for sections in drawn:
        assert (sections[0], sections[-1][0]) == (("intro", 0.0), "outro")
        assert 56 * BAR <= sections[-1][1] < 64 * BAR
        assert all(start % BAR == 0 for _, start in sections)


def test_a_part_of_a_piece_has_the_sections_of_its_place():
    whole = find_sections(make_state(bars=64))
    part = find_sections(make_state(bars=16), total_seconds=128.0, offset_seconds=64.0)
    assert part == tuple((name, start - 32 * BAR) for name, start in whole)


def test_a_short_track_is_a_drop():
    assert find_sections(make_state(bars=8)) == (("drop", 0.0),)


def test_what_follows_a_source_has_new_sections():
    source = Grid(BPM, 0.0, None, (("intro", 0.0), ("drop", 4 * BAR), ("outro", 14 * BAR)))
    state = make_state(bars=64, grid=source, prompt_seconds=8 * BAR / RATE)
    sections = find_sections(state, mode="continue", codes=SOURCE)
    assert sections[:2] == (("intro", 0.0), ("drop", 4 * BAR))
    assert sections[2][1] == 8 * BAR
    assert sections[-1][1] > 50 * BAR


def test_a_source_keeps_its_sections_when_it_is_upsampled():
    source = Grid(BPM, 0.0, None, (("intro", 0.0), ("drop", 4 * BAR)))
    sections = find_sections(make_state(grid=source), mode="upsample", codes=SOURCE)
    assert sections == source.sections


@pytest.mark.parametrize(
    ("grid", "num_sections"), [(Grid(BPM, 0.0), 0), (Grid(), 8), (Grid(BPM), 8)]
)
def test_nothing_is_drawn_without_the_label_or_bars(grid, num_sections):
    assert find_sections(make_state(grid=grid), model=make_model(num_sections)) == ()


def test_sections_can_be_unknown():
    source = Grid(BPM, 0.0, None, (("intro", 0.0),))
    assert find_sections(make_state(grid=source), sections="") == ()


def test_sections_need_a_tempo_and_a_model_that_knows_them(capsys):
    with pytest.raises(ValueError, match="--sections=drop:8 are in bars; add --bpm"):
        find_sections(make_state(grid=Grid()), sections="drop:8")
    sections = find_sections(make_state(), model=make_model(0), sections="drop:8")
    assert sections == (("drop", 0.0),)
    find_grid(make_model(), make_request(sections="drop:8"), [2])
    assert not capsys.readouterr().err
    find_grid(make_model(0), make_request(sections="drop:8"), [2])
    assert "--sections does not change how it plays" in capsys.readouterr().err


def test_a_wrong_plan_is_refused_by_the_request():
    with pytest.raises(ValueError, match="--sections=drop: 'drop' is no section with its bars"):
        make_request(sections="drop")
    assert dataclasses.replace(make_request(), sections="drop:4").sections == "drop:4"
