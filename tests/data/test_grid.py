"""The grid of a track, and its entries in label vectors."""

from fractions import Fraction

import pytest

from jukejax.data import grid
from jukejax.data.grid import Grid

RATE = 44100


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Am", "A minor"),
        ("a min", "A minor"),
        ("F# minor", "F# minor"),
        ("Bb", "A# major"),
        ("Ebm", "D# minor"),
        ("C maj", "C major"),
        ("CM", "C major"),
        ("G moll", "G minor"),
        ("8A", "A minor"),
        ("5a", "C minor"),
        ("12B", "E major"),
    ],
)
def test_keys_are_read_in_the_usual_spellings(text, key):
    assert grid.parse_key(text) == key


@pytest.mark.parametrize("text", ["", "H", "A minorr", "13A", "0B", "Am/C"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="is no key; write one such as Am"):
        grid.parse_key(text)


@pytest.mark.parametrize("hours", [0, 5])
def test_positions_in_the_bar_are_exact_after_hours(hours):
    track, start, hop = Grid(123.4, 1000.5, "A minor"), hours * 3600 * RATE, 128
    tempo, key, position, step, code = track.make_entries(start, hop, RATE)
    assert (tempo, grid.KEYS[key], code) == (123_400, "A minor", start // hop)
    bar = Fraction(240 * RATE * 10, 1234)
    for k in (0, 1, 8191):  # positions of a window
        units = (position + k * step) % grid.CYCLE_UNITS
        exact = (start + k * hop - Fraction("1000.5")) / bar % 1
        assert abs(Fraction(units, grid.CYCLE_UNITS) - exact) < Fraction(1, 10**6)


def test_unknown_values_have_entries_of_their_own():
    assert Grid().make_entries(0, 128, RATE) == (0, 0, 0, 0, 0)
    assert Grid(bpm=120.0).make_entries(0, 128, RATE) == (120_000, 0, 0, 0, 0)
    assert Grid(bpm=120.0, first_downbeat=0.0).make_entries(0, 128, RATE)[3] > 0


def test_a_shifted_grid_points_at_the_same_sample():
    track = Grid(120.0, 300.0)
    assert (
        track.shift(128).make_entries(1280, 128, RATE)[:4]
        == track.make_entries(1408, 128, RATE)[:4]
    )


def test_merged_grids_keep_a_downbeat_with_its_tempo():
    source = Grid(120.0, 50.0, "A minor")
    assert grid.merge_grids(Grid(), source) == source
    assert grid.merge_grids(Grid(key="C major"), source) == Grid(120.0, 50.0, "C major")
    assert grid.merge_grids(Grid(bpm=124.0), source) == Grid(124.0, None, "A minor")
