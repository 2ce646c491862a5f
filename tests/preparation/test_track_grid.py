"""The grid of a track: metadata before tags before the estimate, and doubts by name."""

import dataclasses

import numpy as np
import pytest
import soundfile

from jukejax.data.grid import Grid, SourcedGrid
from jukejax.preparation import house
from jukejax.preparation.prepared_track import GridText, PreparedTrack, Source
from jukejax.preparation.rules import Rules
from jukejax.preparation.separators import make_separator
from jukejax.preparation.track_grid import choose_grid
from jukejax.preparation.tracks import prepare_track

RATE = 44100
ESTIMATE = SourcedGrid(
    Grid(123.97, 5000.0, "A minor"),
    {"bpm": "estimate", "first_downbeat": "estimate", "key": "estimate"},
    {"bpm": 0.9, "first_downbeat": 0.8, "key": 0.7},
)
TRACK = PreparedTrack("a.wav", grid=ESTIMATE, first_sample=1000)


def choose(tags=(), metadata=(), track=TRACK):
    tagged = dataclasses.replace(track, tags=GridText(*tags))
    chosen = choose_grid(tagged, GridText(*metadata))
    return chosen.grid, chosen.notes


def test_an_estimate_is_used_without_anything_written():
    assert choose() == (ESTIMATE, [])


def test_a_rounded_tempo_confirms_the_estimate():
    chosen, notes = choose(("124",))
    assert (chosen.grid, notes) == (ESTIMATE.grid, [])
    assert chosen.origin["bpm"] == "tag"
    assert chosen.confidence["bpm"] == 1.0


@pytest.mark.parametrize(("tag", "word"), [("62", "half"), ("248", "double")])
def test_half_and_double_tempi_are_named_and_not_used(tag, word):
    chosen, notes = choose((tag,))
    assert chosen.grid == ESTIMATE.grid
    assert notes == [
        f"tag: a tempo of {tag} is {word} of the 124.0 BPM that is heard, which is used"
    ]


def test_another_tempo_wins_with_a_note_and_without_the_downbeat_of_the_estimate():
    chosen, notes = choose(("118",))
    assert chosen.grid == Grid(118.0, None, "A minor")
    assert notes == ["tag: a tempo of 118 BPM, and 124.0 is heard"]


def test_an_unsure_estimate_contradicts_nothing():
    confidence = ESTIMATE.confidence | {"bpm": 0.2}
    unsure = dataclasses.replace(ESTIMATE, confidence=confidence)
    chosen, notes = choose(("62",), track=dataclasses.replace(TRACK, grid=unsure))
    assert (chosen.grid.bpm, notes) == (62.0, [])


def test_metadata_wins_over_tags_and_first_beats_are_in_the_time_of_the_source():
    chosen, notes = choose(("124", "", "C"), ("", "0.5", "8A"))
    assert chosen.grid == Grid(123.97, 0.5 * RATE - 1000, "A minor")
    assert chosen.origin == {"bpm": "tag", "first_downbeat": "metadata", "key": "metadata"}
    assert not notes


def test_tags_that_are_no_values_are_ignored_with_a_note():
    chosen, notes = choose(("fast", "", "o"))
    assert chosen.grid == ESTIMATE.grid
    assert len(notes) == 2
    assert "tag: bpm 'fast' is no number" in notes[0]


def test_a_track_of_joined_passages_has_no_position_in_the_bar():
    chosen, notes = choose(track=dataclasses.replace(TRACK, is_joined=True))
    assert chosen.grid == Grid(123.97, None, "A minor")
    assert notes == ["passages were cut out: the position in the bar is unknown"]


def test_sections_of_the_metadata_are_in_the_time_of_the_source():
    text = GridText(sections="intro@1 drop@31.5")
    chosen = choose_grid(TRACK, text).grid
    assert chosen.grid.sections == (("intro", RATE - 1000), ("drop", 31.5 * RATE - 1000))
    assert chosen.origin["sections"] == "metadata"
    joined = choose_grid(dataclasses.replace(TRACK, is_joined=True), text)
    assert joined.grid.grid.sections == ()
    assert "passages were cut out: the sections are unknown" in joined.notes


def test_after_trimming_the_grid_points_at_the_same_sample(tmp_path):
    track = house.track(1, seconds=20.0, seed=3)
    silence = np.zeros((round(1.3 * RATE), 2), np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([silence, track.mix]), RATE, "PCM_24")
    separator = make_separator("none", None)
    source = Source("a.wav", path=str(tmp_path / "a.wav"))
    prepared = prepare_track(source, separator, str(tmp_path), Rules(min_seconds=5.0))
    assert prepared.first_sample > RATE
    grid = prepared.grid.grid
    assert grid.bpm == pytest.approx(track.bpm, rel=1e-3)
    bar = grid.bar_samples(RATE)
    downbeat = len(silence) - prepared.first_sample  # in the stored sound
    error = (grid.first_downbeat - downbeat + bar / 2) % bar - bar / 2
    assert abs(error) / RATE < 0.02
