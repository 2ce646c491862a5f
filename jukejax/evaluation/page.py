"""What `evaluate` writes: evaluate.json with every figure, pictures, and a page that shows them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from jukejax.analysis import mel
from jukejax.analysis.rhythm import BARS
from jukejax.analysis.track_figures import Measured
from jukejax.common import files
from jukejax.evaluation import pictures as evaluation_pictures
from jukejax.evaluation.bootstrap import Interval, finite
from jukejax.evaluation.comparison import METRICS, Row
from jukejax.pages import page, pictures
from jukejax.pages.assets import Assets
from jukejax.pages.runs import parse_number

APART = 3.0  # floors from which a difference is named at the top of the page
_OF_RHYTHM = ("tempo_bpm", "four_on_the_floor", "pulse", "beat_spread_percent")  # with a picture
_OF_SOUND = ("loudness_lufs", "true_peak_db")
_COLUMNS = ("tempo_bpm", "pulse", "four_on_the_floor", "similarity_4_bars", "loudness_lufs")
_COLUMNS += ("true_peak_db", "silent", "clipped")
_MAX_TRACKS = 200


class Evaluation(Protocol):
    """All that was found.

    Attributes:
      rows: of the table.
      measured: of the input's and of the reference's tracks.
      counts: {level: (input, reference)}, how often each code occurs, int64 [K] or None.
      bits: {level: {held-out track: bits per code}}.
      notes: what was left out, and why.
    """

    rows: Sequence[Row]
    measured: tuple[Sequence[Measured], Sequence[Measured]]
    counts: Mapping[int, tuple[np.ndarray | None, np.ndarray | None]]
    bits: Mapping[int, Mapping[str, float]]
    notes: Sequence[str]


def write(folder: str | os.PathLike, found: Evaluation, about: dict) -> Path:
    """Writes FOLDER/evaluate.json, FOLDER/index.html and FOLDER/assets; returns the page's path.

    Args:
      about: what was compared, and the settings.
    """
    assets = Assets(folder)
    content = json.dumps(about | table(found), indent=1, ensure_ascii=False, allow_nan=False)
    files.write_bytes(assets.root / "evaluate.json", content.encode())
    chapters = [
        ("figures", "All figures", _figures(found)),
        ("rhythm", "Rhythm", _rhythm(found, assets)),
        ("sound", "Sound", _sound(found, assets)),
        ("codes", "Codes", _codes(found, assets)),
        ("priors", "What the priors know", _bits(found)),
        ("tracks", "Track by track", _tracks(found)),
    ]
    chapters = [(name, title, content) for name, title, content in chapters if content]
    text = page.document(
        "Evaluation",
        _summary(found),
        *(page.section(*chapter) for chapter in chapters),
        page.details("Settings", page.tag("pre", json.dumps(about, indent=2))),
        contents=[(name, title) for name, title, _ in chapters],
    )
    path = assets.root / "index.html"
    files.write_text(path, text)
    return path


def table(found: Evaluation) -> dict:
    """All figures, for JSON."""

    def tracks(measured: Sequence[Measured]) -> list[dict]:
        return [
            {"name": track.name, "seconds": round(track.seconds, 3)}
            | {name: parse_number(value) for name, value in track.figures.items()}
            for track in measured
        ]

    return {
        "rows": [row.table() for row in found.rows],
        "tracks": dict(zip(("input", "reference"), map(tracks, found.measured), strict=True)),
        "heldout_bits": {f"level_{level}": dict(bits) for level, bits in found.bits.items()},
        "left_out": list(found.notes),
    }


def _summary(found: Evaluation) -> list[page.Html]:
    names = ("input", "reference")
    large = []
    for name, tracks in zip(names, found.measured, strict=True):
        if tracks:
            length = page.duration(sum(track.seconds for track in tracks))
            large.append((f"{name}, {len(tracks)} track(s)", length))
    said = [row for row in found.rows if row.floors is not None and row.floors >= APART]
    said.sort(key=lambda row: -row.floors)
    parts = [page.facts(large, large=True)]
    if said:
        parts.append(page.tag("p", "What chance does not explain, the farthest apart first:"))
        parts.append(page.tag("ul", [page.tag("li", _sentence(row)) for row in said[:10]]))
    elif any(row.floors is not None for row in found.rows):
        parts.append(
            page.tag("p", "No figure is farther from the reference than chance would have it.")
        )
    elif found.measured[1]:
        parts.append(
            page.tag("p", "No floor could be measured, which takes two tracks of the reference.")
        )
    parts += [page.note(f"Left out: {note}.") for note in found.notes]
    return parts


def _sentence(row: Row) -> str:
    title, unit, form = METRICS[row.metric]
    mean = page.number(row.input.mean, form, unit)
    if row.reference is None:
        return (
            f"{row.part}, {title.lower()}: {mean}, {row.floors:.1f} times what two halves of the "
            "reference are apart"
        )
    than = page.number(row.reference.mean, form, unit)
    return f"{title}: {mean}, reference {than} ({row.floors:.1f} floors apart; {row.part})"


def _figures(found: Evaluation) -> list[page.Html]:
    parts = [
        page.note(
            "Means over tracks, in brackets where they lie with 95 % confidence (bootstrap over "
            "tracks). The floor is what two random halves of the reference differ by: a difference "
            "of about one floor or less says nothing."
        )
    ]
    for part in dict.fromkeys(row.part for row in found.rows):
        rows = [row for row in found.rows if row.part == part]
        parts.append(
            page.table(
                part,
                ("", "input", "reference", "floor", "floors apart"),
                [_cells(row) for row in rows],
            )
        )
    return parts


def _cells(row: Row) -> list[str]:
    title, unit, form = METRICS[row.metric]
    return [
        f"{title} ({unit})" if unit else title,
        _interval(row.input, form),
        _interval(row.reference, form),
        page.number(row.floor, form),
        page.number(row.floors, ".1f"),
    ]


def _interval(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "–"
    mean, low, high = (page.number(value, form) for value in interval[:3])
    return mean if interval.count < 2 else f"{mean} [{low}, {high}]"


def _rhythm(found: Evaluation, assets: Assets) -> list[page.Html]:
    cards = []
    for colour, (name, tracks) in enumerate(
        zip(("input", "reference"), found.measured, strict=True)
    ):
        tempos = [track.tempo for track in tracks if len(track.tempo[0])]
        if tempos:
            path = assets.new_path(f"tempo_{name}.png")
            title = f"Tempo through the tracks: {name}"
            evaluation_pictures.tempo_picture(tempos, path, title, colour=colour)
            cards.append(_card(assets, path, title))
    means = [_similarities(found.rows, name) for name in ("input", "reference")]
    if any(means):
        path = assets.new_path("bars.png")
        title = "Do bars come back?"
        evaluation_pictures.similarity_picture(means, path, title)
        cards.append(_card(assets, path, "Likeness of bars to those 1, 4, 8 and 16 bars later"))
    cards += _dots(found, assets, _OF_RHYTHM)
    return [page.grid(cards)] if cards else []


def _similarities(rows: Sequence[Row], side: str) -> dict[int, Interval]:
    of = {row.metric: getattr(row, side) for row in rows}
    found = {bars: of.get(f"similarity_{bars}_bars") for bars in BARS}
    return {bars: interval for bars, interval in found.items() if interval is not None}


def _dots(found: Evaluation, assets: Assets, metrics: Sequence[str]) -> list[page.Html]:
    of = {row.metric: row for row in found.rows}
    cards = []
    for metric in metrics:
        if metric not in of:
            continue
        title, unit, _ = METRICS[metric]
        values = [
            finite([track.figures.get(metric) for track in tracks]) for tracks in found.measured
        ]
        path = assets.new_path(f"{metric}.png")
        evaluation_pictures.tracks_picture(
            values,
            (of[metric].input, of[metric].reference),
            path,
            title[0].upper() + title[1:],
            unit,
        )
        cards.append(_card(assets, path, f"{title} of each track"))
    return cards


def _sound(found: Evaluation, assets: Assets) -> list[page.Html]:
    path = assets.new_path("spectrum.png")
    spectra = [np.array([track.spectrum for track in tracks]) for tracks in found.measured]
    evaluation_pictures.spectrum_picture(spectra, mel.band_centres(), path, "Spectrum")
    cards = [_card(assets, path, "Mean spectrum, and the middle 80 % of the tracks")]
    cards += _dots(found, assets, _OF_SOUND)
    return [page.grid(cards)]


def _codes(found: Evaluation, assets: Assets) -> list[page.Html]:
    cards = []
    for level, sides in sorted(found.counts.items(), reverse=True):
        for name, counts in zip(("input", "reference"), sides, strict=True):
            if counts is not None and counts.sum():
                path = assets.new_path(f"codebook_{level}_{name}.png")
                title = f"Level {level}: {name}"
                pictures.write_codebook_picture(counts, path, title)
                cards.append(_card(assets, path, f"Use of the codes of level {level}, {name}"))
    return [page.grid(cards, columns=2)] if cards else []


def _bits(found: Evaluation) -> list[page.Html]:
    if not found.bits:
        return []
    names = sorted({name for bits in found.bits.values() for name in bits})
    levels = sorted(found.bits, reverse=True)
    rows = [
        [name, *(page.number(found.bits[level].get(name), ".3f") for level in levels)]
        for name in names[:_MAX_TRACKS]
    ]
    columns = ("held-out track", *(f"level {level}" for level in levels))
    return [page.table("Bits per code of held-out tracks", columns, rows)]


def _tracks(found: Evaluation) -> list[page.Html]:
    parts = []
    for name, tracks in zip(("input", "reference"), found.measured, strict=True):
        if not tracks:
            continue
        titles = [f"{METRICS[key][0]} {METRICS[key][1]}".strip() for key in _COLUMNS]
        rows = [
            [
                track.name,
                page.duration(track.seconds),
                *(page.number(track.figures.get(key), METRICS[key][2]) for key in _COLUMNS),
            ]
            for track in tracks[:_MAX_TRACKS]
        ]
        parts.append(page.table(name, ("track", "length", *titles), rows))
        if len(tracks) > _MAX_TRACKS:
            parts.append(
                page.note(f"{len(tracks) - _MAX_TRACKS} more tracks are in evaluate.json.")
            )
    return parts


def _card(assets: Assets, path: Path, alt: str) -> page.Html:
    return page.card("", page.picture(assets.relative_path(path), alt))
