"""The HTML page of an audit: timelines of the pieces, and passages with their originals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.analysis.verdict import COPIED, NOVEL, PROMPT, SIMILAR, WHAT
from jukejax.pages import page

_COLORS = {NOVEL: "var(--line)", SIMILAR: "#d9a400", COPIED: "#d1242f", PROMPT: "var(--quiet)"}
_LEADS = {
    NOVEL: "Nothing in these pieces was found in the training set.",
    SIMILAR: "No copies were found, but parts are more similar to the training set than held-out "
    "music.",
    COPIED: "Parts of these pieces are copies of the training set.",
}
_LEGEND = (
    "Gray is novel, yellow similar, red copied; dark gray is the user's prompt, which is not "
    "judged. One field is one second; of a long piece several seconds, with their worst verdict."
)
_BY_WEIGHT = (PROMPT, NOVEL, SIMILAR, COPIED)
MAX_FIELDS = 150  # of a timeline: as many as fit on a phone, 2 pixels each


@dataclass(frozen=True)
class Piece:
    """A piece on the page.

    Attributes:
      item: its item of audit.json.
      sound: path of the whole piece, relative to the page; None without a sound.
      pairs: {number of a passage: (generated, original)}, paths relative to the page.
    """

    item: dict
    sound: Path | None
    pairs: Mapping[int, tuple[Path, Path]]


def format_page(table: Mapping, pieces: Sequence[Piece]) -> str:
    """Returns the page.

    Args:
      table: verdict, thresholds and training, as in audit.json.
    """
    rows = [
        [
            piece.item["name"],
            piece.item["verdict"],
            page.duration(piece.item["seconds"]),
            *(page.number(100 * piece.item["shares"][v], ".0f", "%") for v in (SIMILAR, COPIED)),
        ]
        for piece in pieces
    ]
    columns = ("piece", "verdict", "length", "similar", "copied")
    return page.document(
        "Is it new?",
        page.tag("p", _LEADS[table["verdict"]], class_="lead"),
        page.table("Pieces, and their shares of verdicts", columns, rows, text=2),
        page.note(_LEGEND),
        *(_format_piece(piece) for piece in pieces),
        page.section("thresholds", "Thresholds", _format_thresholds(table)),
        page.details(
            "The training set",
            page.table(
                "The corpora of the comparison",
                ("folder", "kind", "tracks", "hours"),
                [
                    (c["folder"], c["kind"], c["tracks"], page.number(c["hours"]))
                    for c in table["training"]
                ],
                text=2,
            ),
        ),
    )


def _format_piece(piece: Piece) -> page.Html:
    item = piece.item
    elements = [page.tag("h2", f"{item['name']}: {item['verdict']}")]
    if item["given"]:
        elements.append(page.note(f"Given by the user: {item['given']}."))
    if item["prompt_seconds"]:
        length = page.duration(item["prompt_seconds"])
        elements.append(page.note(f"The first {length} are the user's prompt."))
    if piece.sound:
        elements.append(page.player(piece.sound, item["name"]))
    elements.append(_format_timeline(item))
    if item["passages"]:
        elements.append(_format_passages(item))
    for i, (generated, original) in sorted(piece.pairs.items()):
        elements.append(_format_pair(item["passages"][i], generated, original))
    return page.tag("article", *elements, class_="item")


def _format_timeline(item: dict) -> page.Html:
    """Returns a bar with one field per second; of a long piece, per several seconds."""
    seconds = item["timeline"]
    width = max(1, math.ceil(len(seconds) / MAX_FIELDS))
    fields = [
        _format_field(start, seconds[start : start + width])
        for start in range(0, len(seconds), width)
    ]
    shares = ", ".join(f"{v} {100 * share:.0f} %" for v, share in item["shares"].items())
    style = "display:flex;gap:1px;height:1.6rem;margin:.5rem 0"
    return page.tag("div", *fields, style=style, role="img", aria_label=f"Timeline: {shares}")


def _format_field(start: int, seconds: Sequence[dict]) -> page.Html:
    """Returns a field of a timeline in the color of its worst verdict."""
    worst = max(seconds, key=lambda second: _BY_WEIGHT.index(second["verdict"]))
    position = f"{start} s" if len(seconds) == 1 else f"{start} to {start + len(seconds)} s"
    reason = f", {WHAT[worst['because']]}" if worst["because"] else ""
    color = _COLORS[worst["verdict"]]
    return page.tag(
        "span",
        style=f"flex:{len(seconds)};min-width:1px;background:{color}",
        title=f"{position}: {worst['verdict']}{reason}",
    )


def _format_passages(item: dict) -> page.Html:
    rows = [
        [
            f"{p['start']} to {p['end']} s",
            p["verdict"],
            p["track"],
            page.number(p["offset_seconds"], ".2f", "s"),
            f"{WHAT[p['because']]}: {page.number(p['value'])}",
            "–" if p["chance"] is None else page.number(100 * p["chance"], ".2f", "%"),
        ]
        for p in item["passages"]
    ]
    columns = ("where", "verdict", "training track", "at", "strongest evidence", "by chance")
    return page.table(
        "Passages; by chance: at most this share of held-out windows goes as far",
        columns,
        rows,
        text=5,
    )


def _format_pair(passage: dict, generated: Path, original: Path) -> page.Html:
    position = f"{passage['start']} to {passage['end']} s"
    source = f"{passage['track']} at {page.duration(max(passage['offset_seconds'], 0))}"
    return page.grid(
        [
            page.card(f"Generated, {position}", page.player(generated, f"Generated, {position}")),
            page.card(f"Original, {source}", page.player(original, f"Original, {source}")),
        ],
        columns=2,
    )


def _format_thresholds(table: Mapping) -> page.Html:
    rows = [
        [
            WHAT[kind],
            page.number(limit["similar"]),
            page.number(limit["copied"]),
            limit["heldout_windows"],
            limit["heldout_similar"],
            limit["heldout_copied"],
        ]
        for kind, limit in table["thresholds"].items()
    ]
    columns = ("evidence", "similar from", "copied from", "held-out windows", "similar", "copied")
    return page.table(
        "Thresholds, and how many windows of held-out tracks reach them", columns, rows
    )
