"""Sections of tracks: parsing, plans, and their entries in label vectors."""

import numpy as np
import pytest

from jukejax.data import sections
from jukejax.data.grid import Grid, merge_grids


def test_a_plan_is_parsed_and_placed():
    plan = sections.parse_plan("intro:4, Build:2,drop:8")
    assert plan == [("intro", 4), ("build", 2), ("drop", 8)]
    assert sections.place_plan(plan, 100.0, 10.0) == (
        ("intro", 100.0),
        ("build", 140.0),
        ("drop", 160.0),
    )


@pytest.mark.parametrize("text", ["", "drop", "drop:0", "drop:2.5", "chill:4", "drop:4,,"])
def test_a_wrong_plan_is_refused(text):
    with pytest.raises(ValueError, match="no section"):
        sections.parse_plan(text)


def test_starts_are_parsed():
    assert sections.parse_starts("intro@0; drop@31.5") == (("intro", 0.0), ("drop", 31.5))
    assert sections.parse_starts("") == ()


@pytest.mark.parametrize("text", ["intro", "intro@-1", "intro@0 drop@0", "hook@3"])
def test_wrong_starts_are_refused(text):
    with pytest.raises(ValueError, match="section"):
        sections.parse_starts(text)


def test_entries_tell_the_section_of_every_position():
    track = (("intro", 0.0), ("drop", 1000.0), ("outro", 5000.0))
    names = [sections.NAMES.index(name) for name, _ in track]
    for start in (-64, 0, 999, 1000, 3000, 6000):
        entries = np.reshape(sections.make_entries(track, start, 10, 4), (4, 2))
        for position in range(600):
            sample = start + 10 * position
            expected = sum(sample + 5 > first for _, first in track)  # the nearest position
            number = entries[entries[:, 0] <= position][-1, 1]
            assert number == ([0, *names][expected])


def test_what_follows_more_sections_than_a_window_can_have_is_unknown():
    track = tuple(("drop" if i % 2 else "break", 100.0 * i) for i in range(6))
    entries = np.reshape(sections.make_entries(track, 0, 10, 3), (3, 2))
    assert entries[1:].tolist() == [[10, sections.NAMES.index("drop")], [20, 0]]


def test_a_grid_moves_and_scales_its_sections():
    grid = Grid(120.0, 50.0, None, (("intro", 50.0), ("drop", 850.0)))
    assert grid.shift(50).sections == (("intro", 0.0), ("drop", 800.0))
    assert grid.scale(0.5).sections == (("intro", 25.0), ("drop", 425.0))
    assert Grid(None, None, None, grid.sections).shift(50).first_downbeat is None
    assert merge_grids(Grid(key="C major"), grid).sections == grid.sections


def test_sections_of_a_continuation_follow_those_of_the_source():
    before = (("intro", 0.0), ("drop", 40.0), ("outro", 90.0))
    after = (("build", 0.0), ("drop", 70))
    joined = sections.join_sections(before, after, 60.0)
    assert joined == (("intro", 0.0), ("drop", 40.0), ("build", 60.0), ("drop", 70))


def test_drawn_plans_fill_the_track_and_depend_on_the_seed():
    plans = [sections.draw_plan(64, (seed, 0)) for seed in range(8)]
    assert all(sum(bars for _, bars in plan) == 64 for plan in plans)
    assert sections.draw_plan(64, (3, 0)) == plans[3]
    assert len({str(plan) for plan in plans}) > 2
    assert sections.draw_plan(8, (0, 0)) == [("drop", 8)]
    assert sections.draw_plan(0, (0, 0)) == [("drop", 1)]
