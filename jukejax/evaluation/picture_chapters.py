"""The chapters of the report of `evaluate` that are pictures: rhythm, sound, codes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jukejax.analysis import mel
from jukejax.analysis.rhythm import BARS
from jukejax.evaluation import pictures as evaluation_pictures
from jukejax.evaluation.bootstrap import Interval, drop_missing
from jukejax.evaluation.metrics import METRICS
from jukejax.evaluation.rows import Row
from jukejax.evaluation.run import SIDES, Evaluation
from jukejax.pages import page, pictures
from jukejax.pages.assets import Assets

_RHYTHM_METRICS = (
    "tempo_bpm",
    "four_on_the_floor",
    "pulse",
    "beat_spread_percent",
)  # with a picture
_SOUND_METRICS = ("loudness_lufs", "true_peak_db")


def render_rhythm(evaluation: Evaluation, assets: Assets) -> list[page.Html]:
    """Renders tempo through the tracks, repetition of bars and the figures of the rhythm."""
    cards = []
    for color, (name, tracks) in enumerate(zip(SIDES, evaluation.measured, strict=True)):
        tempos = [track.tempo for track in tracks if len(track.tempo[0])]
        if tempos:
            path = assets.new_path(f"tempo_{name}.png")
            title = f"Tempo through the tracks: {name}"
            evaluation_pictures.write_tempo_picture(tempos, path, title, color=color)
            cards.append(_card(assets, path, title))
    similarities = [_select_similarities(evaluation.rows, side) for side in SIDES]
    if any(similarities):
        path = assets.new_path("bars.png")
        title = "Repetition of bars"
        evaluation_pictures.write_similarity_picture(similarities, path, title)
        cards.append(_card(assets, path, "Likeness of bars to those 1, 4, 8 and 16 bars later"))
    cards += _render_dots(evaluation, assets, _RHYTHM_METRICS)
    return [page.grid(cards)] if cards else []


def _select_similarities(rows: Sequence[Row], side: str) -> dict[int, Interval]:
    by_metric = {row.metric: getattr(row, side) for row in rows}
    intervals = {bars: by_metric.get(f"similarity_{bars}_bars") for bars in BARS}
    return {bars: interval for bars, interval in intervals.items() if interval is not None}


def _render_dots(evaluation: Evaluation, assets: Assets, metrics: Sequence[str]) -> list[page.Html]:
    """Returns a card with a dot for each track, for each measured metric."""
    rows = {row.metric: row for row in evaluation.rows}
    cards = []
    for metric in metrics:
        if metric not in rows:
            continue
        definition = METRICS[metric]
        title, unit = definition.title, definition.unit
        values = [
            drop_missing([track.figures.get(metric) for track in tracks])
            for tracks in evaluation.measured
        ]
        path = assets.new_path(f"{metric}.png")
        evaluation_pictures.write_tracks_picture(
            values,
            (rows[metric].input, rows[metric].reference),
            path,
            title[0].upper() + title[1:],
            unit,
        )
        cards.append(_card(assets, path, f"{title} of each track"))
    return cards


def render_sound(evaluation: Evaluation, assets: Assets) -> list[page.Html]:
    """Renders the mean spectra and the figures of the sound."""
    path = assets.new_path("spectrum.png")
    spectra = [np.array([track.spectrum for track in tracks]) for tracks in evaluation.measured]
    evaluation_pictures.write_spectrum_picture(spectra, mel.band_centers(), path, "Spectrum")
    cards = [_card(assets, path, "Mean spectrum, and the middle 80 % of the tracks")]
    cards += _render_dots(evaluation, assets, _SOUND_METRICS)
    return [page.grid(cards)]


def render_codes(evaluation: Evaluation, assets: Assets) -> list[page.Html]:
    """Renders the use of the codes of each level."""
    cards = []
    for level, sides in sorted(evaluation.counts.items(), reverse=True):
        for name, counts in zip(SIDES, sides, strict=True):
            if counts is not None and counts.sum():
                path = assets.new_path(f"codebook_{level}_{name}.png")
                title = f"Level {level}: {name}"
                pictures.write_codebook_picture(counts, path, title)
                cards.append(_card(assets, path, f"Use of the codes of level {level}, {name}"))
    return [page.grid(cards, columns=2)] if cards else []


def _card(assets: Assets, path: Path, alt: str) -> page.Html:
    return page.card("", page.picture(assets.relative_path(path), alt))
