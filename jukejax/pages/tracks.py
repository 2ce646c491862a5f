"""A generated track on a page: its labels, a player and a picture for each level, what it cost."""

import json
import math
from collections.abc import Sequence

from jukejax.pages import page
from jukejax.pages.assets import Assets
from jukejax.pages.runs import LEVELS, Item, figure, words

_LEVEL_TITLES = {0: "The finished track", 1: "Half-way", 2: "The first sketch"}
HOW_TRACKS_GROW = (
    "Each track is made three times over: a coarse sketch, which fixes melody and rhythm, then "
    "twice more with ever finer detail. All pictures share one colour scale."
)
_LEVEL_NOTES = {0: "level 0, the finest codes", 1: "level 1", 2: "level 2, the coarsest codes"}


def track(item: Item, assets: Assets) -> page.Html:
    """Everything about one item; levels that are not there yet are named."""
    title = " · ".join([f"Track {item.number}", *item.labels])
    cards = []
    for level, wav in item.wavs.items():
        what = f"{title}, {_LEVEL_TITLES[level].lower()} ({_LEVEL_NOTES[level]})"
        name = f"{item.folder.name}_level_{level}"
        cards.append(
            page.card(
                _LEVEL_TITLES[level],
                assets.sound(wav, name, f"Level {level}", what),
                page.note(_compute(item, level)) if _compute(item, level) else "",
                strong=level == 0,
            )
        )
    return page.tag(
        "article",
        page.tag("h2", title),
        page.facts(_settings(item)),
        [page.note(line) for line in _honest_lines(item)],
        page.grid(cards) if cards else "",
        _lyrics(item),
        page.details("All settings of this track", page.tag("pre", pretty(item.meta))),
        class_="item",
        id=item.folder.name,
    )


def pretty(content: object) -> str:
    """JSON to be read by people."""
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _compute(item: Item, level: int) -> str:
    timings = item.meta.get("timings")
    seconds = figure(timings.get(f"level_{level}")) if isinstance(timings, dict) else None
    return "" if seconds is None else f"Level {level}: computed in {page.duration(seconds)}."


def _settings(item: Item) -> list[tuple[str, object]]:
    meta = item.meta
    pairs = [
        ("length", page.duration(item.seconds)),
        ("seed", meta.get("seed")),
        ("mode", meta.get("mode")),
        ("temperature 2, 1, 0", _by_level(meta.get("temperature"))),
        ("top k", meta.get("top_k") or None),
        ("top p", meta.get("top_p") if (figure(meta.get("top_p")) or 1) < 1 else None),
    ]
    if figure(meta.get("prompt_seconds")):
        pairs.append(("prompt (given, not made)", page.duration(meta["prompt_seconds"])))
    timings = meta.get("timings")
    if isinstance(timings, dict):
        total = sum(figure(seconds) or 0 for seconds in timings.values())
        pairs.append(("computed in", page.duration(total)))
    cost = figure(meta.get("seconds_per_second_of_audio"))
    if cost is not None:
        pairs.append(("per second of music", page.number(cost, ".1f", "s")))
    return [(name, value) for name, value in pairs if value not in (None, "", "–")]


def _by_level(value: object) -> object:
    """Settings are indexed by level (0 first); people read them in the order of making."""
    if isinstance(value, dict):
        value = [value.get(f"level_{level}") for level in sorted(LEVELS)]
    if not isinstance(value, list | tuple):
        return value
    return ", ".join(str(part) for part in reversed(value) if part is not None)


def _honest_lines(item: Item) -> list[str]:
    lines = []
    missing = [level for level in LEVELS if level not in item.wavs]
    if missing:
        names = " and ".join(f"level {level}" for level in missing)
        verb = "is" if len(missing) == 1 else "are"
        lines.append(
            f"Unfinished: {names} {verb} not there "
            "(still being made, stopped before, or not asked for)."
        )
    gains = item.meta.get("gain")
    for level in sorted(LEVELS):
        gain = figure(gains.get(f"level_{level}")) if isinstance(gains, dict) else None
        if gain is not None and 0 < gain < 1:
            lines.append(
                f"Level {level} came out louder than the file format can hold and was turned down "
                f"as a whole, to {100 * gain:.0f} % "
                f"({page.number(20 * math.log10(gain), '.1f')} dB); nothing was cut off."
            )
    return lines


def _lyrics(item: Item) -> page.Html:
    lyrics = item.meta.get("lyrics")
    return page.details("Lyrics", page.tag("pre", words(lyrics))) if lyrics else page.Html("")


def made_of(items: Sequence[Item]) -> str:
    """`2 tracks of 6.0 s`, `3 tracks, 1 min 05 s in all`."""
    count = f"{len(items)} track" + ("" if len(items) == 1 else "s")
    lengths = [item.seconds for item in items if item.seconds]
    if not lengths:
        return count
    if len(set(lengths)) == 1:
        return f"{count} of {page.duration(lengths[0])}"
    return f"{count}, {page.duration(sum(lengths))} in all"
