"""Measures how far generated tracks follow the tempo, beats and key that were asked for."""

from collections.abc import Sequence

from jukejax.analysis import control
from jukejax.common.progress import track_progress
from jukejax.data.audio import SAMPLE_RATE
from jukejax.data.grid import Grid
from jukejax.evaluation.sound_sets import LONGEST, Entry


def measure_entries(entries: Sequence[Entry]) -> dict[str, dict[str, float | None]]:
    """Measures the entries that have a grid; returns figures by the name of the track.

    Of a track longer than `LONGEST` only the beginning is measured, and not its loop.
    """
    with_grid = [entry for entry in entries if entry.grid != Grid()]
    figures = {}
    for entry in track_progress(with_grid, total=len(with_grid), label="measuring control, tracks"):
        with entry.open() as samples:
            sound = samples[: LONGEST * SAMPLE_RATE]
            is_whole = len(sound) == len(samples)
        figures[entry.name] = control.measure_control(sound.mean(axis=1), SAMPLE_RATE, entry.grid)
        if entry.is_loop and is_whole:
            figures[entry.name] |= control.measure_loop(sound, SAMPLE_RATE, entry.grid)
    return figures
