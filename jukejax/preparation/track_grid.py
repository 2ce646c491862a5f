"""The grid of a track: from the metadata file, else from its tags, else estimated.

A tempo that is written is mostly rounded; one that agrees with the estimate is that estimate, so
that the beats at the end of the track are where they are heard.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from jukejax.analysis.tempo_grid import estimate_grid
from jukejax.data import audio
from jukejax.data.grid import SourcedGrid, check_bpm, is_same_tempo, parse_key
from jukejax.data.sections import parse_starts, scale_sections, shift_sections
from jukejax.preparation.prepared_track import GridText, PreparedTrack

SURE = 0.5  # confidence of an estimate from which on it contradicts what is written
LONGEST = 20 * 60  # seconds of a track whose grid is estimated: longer ones are mixes of records
OCTAVES = (0.5, 2.0)  # ratios of a written tempo that counts every second beat, or twice
OCTAVE_TOLERANCE = 0.02


def estimate_track_grid(mono: Iterable[np.ndarray]) -> SourcedGrid:
    """Estimates the grid of a track from blocks of its sound, float32 [time] at 44.1 kHz."""
    estimate = estimate_grid(mono, audio.SAMPLE_RATE)
    confidences = {
        "bpm": estimate.bpm_confidence,
        "first_downbeat": estimate.downbeat_confidence,
        "key": estimate.key_confidence,
    }
    known = [name for name in confidences if getattr(estimate.grid, name) is not None]
    return SourcedGrid(
        estimate.grid,
        dict.fromkeys(known, "estimate"),
        {name: round(confidences[name], 3) for name in known},
        is_constant=estimate.is_constant,
    )


def check_grid_text(text: GridText) -> None:
    """Checks the values of the metadata file.

    Raises:
      ValueError: one is no tempo, time, key or list of sections; the message names the column.
    """
    parse_bpm(text.bpm, "bpm")
    parse_first_beat(text.first_beat)
    if text.key:
        parse_key(text.key)
    parse_starts(text.sections)


def parse_bpm(text: str, name: str) -> float | None:
    """Parses a tempo; None for "" and "0", which some programs write for "unknown"."""
    try:
        bpm = float(text.replace(",", ".") or 0)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} is no number of beats a minute") from error
    return check_bpm(bpm, name) if bpm else None


def parse_first_beat(text: str) -> float | None:
    """Parses a time in seconds; None for ""."""
    try:
        seconds = float(text) if text else None
    except ValueError as error:
        raise ValueError(f"first_beat {text!r} is no time in seconds") from error
    if seconds is not None and not 0 <= seconds < 86400:
        raise ValueError(f"first_beat {text!r} must be 0 to 86400 s")
    return seconds


def choose_grid(track: PreparedTrack, metadata: GridText) -> PreparedTrack:
    """Returns the track with its final grid, and notes on doubts.

    Args:
      track: with the estimate, or the truth of the house corpus, as its grid.
      metadata: values of the metadata file, which were checked.
    """
    grid, notes = track.grid, []
    if not grid.is_constant:
        notes.append("the tempo is not constant: tempo and position in the bar are unknown")
    for origin, text in (("tag", track.tags), ("metadata", metadata)):
        grid, more_notes = _apply_text(grid, text, origin, track)
        notes += more_notes
    if track.is_joined and grid.grid.first_downbeat is not None:
        notes.append("passages were cut out: the position in the bar is unknown")
        grid = replace(grid, grid=replace(grid.grid, first_downbeat=None))
    if track.is_joined and grid.grid.sections:
        notes.append("passages were cut out: the sections are unknown")
        grid = replace(grid, grid=replace(grid.grid, sections=()))
    return replace(track, grid=grid, notes=[*track.notes, *notes])


def _apply_text(
    sourced: SourcedGrid, text: GridText, origin: str, track: PreparedTrack
) -> tuple[SourcedGrid, list[str]]:
    """Replaces values of a grid by those that are written."""
    notes: list[str] = []
    values: dict[str, Any] = {}
    try:
        bpm = parse_bpm(text.bpm, "bpm")
    except ValueError as error:  # tags only: the metadata file was checked
        notes.append(f"{origin}: {error}; it is ignored")
        bpm = None
    if bpm is not None:
        chosen, note = _reconcile_tempo(bpm, sourced, origin)
        notes += [note] if note else []
        if chosen is not None:
            values["bpm"] = chosen
    first_beat = parse_first_beat(text.first_beat)
    if first_beat is not None:
        values["first_downbeat"] = first_beat * audio.SAMPLE_RATE - track.first_sample
    if text.key:
        try:
            values["key"] = parse_key(text.key)
        except ValueError as error:
            notes.append(f"{origin}: {error}; it is ignored")
    if starts := parse_starts(text.sections):
        starts = scale_sections(starts, audio.SAMPLE_RATE)
        values["sections"] = shift_sections(starts, track.first_sample)
    grid = sourced.grid
    if "bpm" in values and values["bpm"] != grid.bpm and "first_downbeat" not in values:
        grid = replace(grid, first_downbeat=None)  # that of another tempo
    return (
        SourcedGrid(
            replace(grid, **values),
            sourced.origin | dict.fromkeys(values, origin),
            sourced.confidence | dict.fromkeys(values, 1.0),
            sourced.is_constant,
        ),
        notes,
    )


def _reconcile_tempo(
    written: float, sourced: SourcedGrid, origin: str
) -> tuple[float | None, str | None]:
    """Compares a written tempo with the estimate.

    Returns:
      The tempo to use, None for the present one; and a note, or None.
    """
    heard = sourced.grid.bpm
    if heard is None:
        return written, None
    if is_same_tempo(written, heard):
        return heard, None
    if sourced.confidence.get("bpm", 0.0) < SURE:
        return written, None
    for ratio in OCTAVES:
        if abs(written / heard / ratio - 1) <= OCTAVE_TOLERANCE:
            word = "half" if ratio < 1 else "double"
            return None, (
                f"{origin}: a tempo of {written:g} is {word} of the {heard:.1f} BPM that is heard, "
                "which is used"
            )
    return written, f"{origin}: a tempo of {written:g} BPM, and {heard:.1f} is heard"
