"""The report of `evaluate`: evaluate.json with every figure, pictures, and a page."""

import json
import os
from pathlib import Path

from jukejax.analysis.track_figures import TrackMeasurements
from jukejax.common import files
from jukejax.common.formatting import format_count
from jukejax.common.json_values import parse_number
from jukejax.evaluation.bootstrap import Interval
from jukejax.evaluation.metrics import METRICS
from jukejax.evaluation.picture_chapters import render_codes, render_rhythm, render_sound
from jukejax.evaluation.rows import MIN_TRACKS, Row, rank_differences
from jukejax.evaluation.run import SIDES, Evaluation
from jukejax.pages import page
from jukejax.pages.assets import Assets

_COLUMNS = (
    *("tempo_bpm", "pulse", "four_on_the_floor", "similarity_4_bars"),
    *("loudness_lufs", "true_peak_db", "silent", "clipped"),
)
_CONTROL = (
    *("asked_tempo_error", "asked_beat_offset", "asked_drift", "asked_beat_f"),
    *("asked_key_score", "loop_flux_rank", "loop_level_rank"),
)
_MAX_TRACKS = 200


def write_evaluation(folder: str | os.PathLike, evaluation: Evaluation, about: dict) -> Path:
    """Writes FOLDER/evaluate.json, FOLDER/index.html and FOLDER/assets.

    Args:
      about: the sets that were compared, and the settings.

    Returns:
      The path of index.html.
    """
    assets = Assets(folder)
    table = about | _list_all_figures(evaluation)
    # Not by files.write_json: a NaN must raise, since other programs read this file.
    text = json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False)
    files.write_text(assets.root / "evaluate.json", text)
    chapters = [
        ("figures", "All figures", _render_tables(evaluation)),
        ("control", "Asked against measured", _render_control(evaluation)),
        ("rhythm", "Rhythm", render_rhythm(evaluation, assets)),
        ("sound", "Sound", render_sound(evaluation, assets)),
        ("codes", "Codes", render_codes(evaluation, assets)),
        ("priors", "Bits per code of the priors", _render_bits(evaluation)),
        ("tracks", "Track by track", _render_tracks(evaluation)),
    ]
    chapters = [(name, title, content) for name, title, content in chapters if content]
    text = page.document(
        "Evaluation",
        _render_summary(evaluation),
        *(page.section(*chapter) for chapter in chapters),
        page.details("Settings", page.tag("pre", json.dumps(about, indent=2))),
        contents=[(name, title) for name, title, _ in chapters],
    )
    path = assets.root / "index.html"
    files.write_text(path, text)
    return path


def _list_all_figures(evaluation: Evaluation) -> dict:
    """Returns the content of evaluate.json."""
    inputs, references = (
        [_list_track_figures(measured) for measured in tracks] for tracks in evaluation.measured
    )
    return {
        "rows": [row.to_json() for row in evaluation.rows],
        "tracks": {"input": inputs, "reference": references},
        "heldout_bits": {f"level_{level}": bits for level, bits in evaluation.bits.items()},
        "control": evaluation.control,
        "left_out": list(evaluation.notes),
    }


def _list_track_figures(measured: TrackMeasurements) -> dict:
    figures = {name: parse_number(value) for name, value in measured.figures.items()}
    return {"name": measured.name, "seconds": round(measured.seconds, 3)} | figures


def _render_summary(evaluation: Evaluation) -> list[page.Html]:
    lengths = []
    for side, tracks in zip(SIDES, evaluation.measured, strict=True):
        if tracks:
            length = page.duration(sum(track.seconds for track in tracks))
            lengths.append((f"{side}, {format_count(len(tracks), 'track')}", length))
    notable = rank_differences(evaluation.rows)
    content = [page.facts(lengths, large=True)]
    if notable:
        lead = (
            "Differences that chance does not explain: rhythm, then faults, sound and the model, "
            "the largest of each first:"
        )
        content.append(page.tag("p", lead))
        items = [page.tag("li", _describe_difference(row)) for row in notable[:10]]
        content.append(page.tag("ul", items))
    elif any(row.floors is not None for row in evaluation.rows):
        content.append(page.tag("p", "No difference exceeds what chance explains."))
    elif evaluation.measured[1]:
        content.append(
            page.tag(
                "p",
                f"Differences were not judged, which takes {MIN_TRACKS} tracks of the reference.",
            )
        )
    return content + [page.note(f"Note: {note}.") for note in evaluation.notes]


def _describe_difference(row: Row) -> str:
    metric, counts = row.definition, row.describe_counts()
    mean = page.number(row.input.mean if row.input else None, metric.form, metric.unit)
    if row.reference is None:
        return (
            f"{row.part}, {metric.title}: {mean}, {row.floors:.1f} times what two halves of the "
            f"reference are apart; {counts}"
        )
    reference = page.number(row.reference.mean, metric.form, metric.unit)
    return (
        f"{metric.title}: {mean}, reference {reference} "
        f"({row.floors:.1f} floors apart; {row.part}; {counts})"
    )


def _render_tables(evaluation: Evaluation) -> list[page.Html]:
    content = [
        page.note(
            "Means over tracks, in brackets where they lie with 95 % confidence (bootstrap over "
            "tracks). The floor is what chance explains: the difference of two random parts of the "
            "reference, one of as many tracks as the input. A difference of about one floor or "
            "less says nothing."
        )
    ]
    for part in dict.fromkeys(row.part for row in evaluation.rows):
        rows = [row for row in evaluation.rows if row.part == part]
        content.append(
            page.table(
                part,
                ("", "input", "reference", "floor", "floors apart", "input/reference"),
                [_row_cells(row) for row in rows],
            )
        )
    return content


def _row_cells(row: Row) -> list[str]:
    form, is_short = row.definition.form, row.find_shortage() is not None
    return [
        row.definition.label,
        _format_interval(row.input, form),
        _format_interval(row.reference, form),
        page.number(row.floor, form),
        "too few" if is_short else page.number(row.floors, ".1f"),
        row.describe_counts(),
    ]


def _format_interval(interval: Interval | None, form: str) -> str:
    if interval is None:
        return "–"
    limits = (interval.mean, interval.low, interval.high)
    mean, low, high = (page.number(value, form) for value in limits)
    return mean if interval.count < 2 else f"{mean} [{low}, {high}]"


def _render_control(evaluation: Evaluation) -> list[page.Html]:
    names = [name for name in _CONTROL if any(name in row for row in evaluation.control.values())]
    if not names:
        return []
    rows = [
        [track, *(page.number(figures.get(name), METRICS[name].form) for name in names)]
        for track, figures in list(evaluation.control.items())[:_MAX_TRACKS]
    ]
    columns = ("track", *(METRICS[name].label for name in names))
    return [page.table("What each track was asked for, and how far it follows", columns, rows)]


def _render_bits(evaluation: Evaluation) -> list[page.Html]:
    if not evaluation.bits:
        return []
    names = sorted({name for bits in evaluation.bits.values() for name in bits})
    levels = sorted(evaluation.bits, reverse=True)
    rows = [
        [name, *(page.number(_get_bits(evaluation, level, name), ".3f") for level in levels)]
        for name in names[:_MAX_TRACKS]
    ]
    columns = ("held-out track", *(f"level {level}" for level in levels))
    return [page.table("Bits per code of held-out tracks", columns, rows)]


def _get_bits(evaluation: Evaluation, level: int, name: str) -> float | None:
    return evaluation.bits[level].get(name, {}).get("bits_per_code")


def _render_tracks(evaluation: Evaluation) -> list[page.Html]:
    content = []
    for name, tracks in zip(SIDES, evaluation.measured, strict=True):
        if not tracks:
            continue
        titles = [METRICS[key].label for key in _COLUMNS]
        rows = [
            [
                track.name,
                page.duration(track.seconds),
                *(page.number(track.figures.get(key), METRICS[key].form) for key in _COLUMNS),
            ]
            for track in tracks[:_MAX_TRACKS]
        ]
        content.append(page.table(name, ("track", "length", *titles), rows))
        if len(tracks) > _MAX_TRACKS:
            hidden = format_count(len(tracks) - _MAX_TRACKS, "more track")
            content.append(page.note(f"Only in evaluate.json: {hidden}."))
    return content
