"""The page of an audit: each piece with its timeline, and what was found beside its original."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.analysis.verdict import COPIED, NOVEL, PROMPT, SIMILAR, WHAT
from jukejax.pages import page

_COLOURS = {NOVEL: "var(--line)", SIMILAR: "#d9a400", COPIED: "#d1242f", PROMPT: "var(--quiet)"}
_LEADS = {
    NOVEL: "Nothing in these pieces was found in the training set.",
    SIMILAR: "Nothing was found copied, but parts are more like the training set than held-out "
    "music is.",
    COPIED: "Parts of these pieces are copies of the training set.",
}
_LEGEND = (
    "One field is one second: grey is novel, yellow similar, red copied; dark grey is the prompt "
    "that the user gave, which is set apart."
)


@dataclass(frozen=True)
class Piece:
    """One piece on the page.

    Attributes:
      item: what audit.json says of it.
      sound: the whole piece, relative to the page; None without one.
      pairs: {number of a passage: (generated, original)}, sounds relative to the page.
    """

    item: dict
    sound: Path | None
    pairs: Mapping[int, tuple[Path, Path]]


def document(table: Mapping, pieces: Sequence[Piece]) -> str:
    """The whole page.

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
        page.table("Pieces, and the share of what the model made of them", columns, rows, text=2),
        page.note(_LEGEND),
        *(_piece(piece) for piece in pieces),
        page.section("thresholds", "What it takes", _thresholds(table)),
        page.details(
            "The training set",
            page.table(
                "What the pieces were compared with",
                ("folder", "kind", "tracks", "hours"),
                [
                    (c["folder"], c["kind"], c["tracks"], page.number(c["hours"]))
                    for c in table["training"]
                ],
                text=2,
            ),
        ),
    )


def _piece(piece: Piece) -> page.Html:
    item = piece.item
    parts = [page.tag("h2", f"{item['name']}: {item['verdict']}")]
    if item["given"]:
        parts.append(page.note(f"Given by the user: {item['given']}."))
    if item["prompt_seconds"]:
        length = page.duration(item["prompt_seconds"])
        parts.append(page.note(f"The first {length} are the user's prompt."))
    if piece.sound:
        parts.append(page.player(piece.sound, item["name"]))
    parts.append(_timeline(item))
    if item["passages"]:
        parts.append(_passages(item))
    for i, (made, original) in sorted(piece.pairs.items()):
        parts.append(_pair(item["passages"][i], made, original))
    return page.tag("article", *parts, class_="item")


def _timeline(item: dict) -> page.Html:
    """A bar of one field a second."""
    fields = [
        page.tag(
            "span",
            style=f"flex:1;min-width:2px;background:{_COLOURS[second['verdict']]}",
            title=f"{s} s: {second['verdict']}"
            + (f", {WHAT[second['because']]}" if second["because"] else ""),
        )
        for s, second in enumerate(item["timeline"])
    ]
    said = ", ".join(f"{v} {100 * share:.0f} %" for v, share in item["shares"].items())
    style = "display:flex;gap:1px;height:1.6rem;margin:.5rem 0"
    return page.tag("div", *fields, style=style, role="img", aria_label=f"Timeline: {said}")


def _passages(item: dict) -> page.Html:
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


def _pair(passage: dict, made: Path, original: Path) -> page.Html:
    where = f"{passage['start']} to {passage['end']} s"
    there = f"{passage['track']} at {page.duration(max(passage['offset_seconds'], 0))}"
    return page.grid(
        [
            page.card(f"Generated, {where}", page.player(made, f"Generated, {where}")),
            page.card(f"Original, {there}", page.player(original, f"Original, {there}")),
        ],
        columns=2,
    )


def _thresholds(table: Mapping) -> page.Html:
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
