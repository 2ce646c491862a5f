"""Generated tracks on a page: labels, a player and a picture for each level, and the cost."""

import json
import math
from collections.abc import Sequence

from jukejax.common.formatting import format_count
from jukejax.common.json_values import join_text, parse_number
from jukejax.data.sample_items import LEVELS, Item
from jukejax.pages import page
from jukejax.pages.alignment import read_alignment, render_alignment
from jukejax.pages.assets import Assets

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_TIMES = {1: "once", 2: "twice"}


def describe_levels(items: Sequence[Item]) -> str:
    """Describes the levels at which the tracks are generated."""
    scale = "All pictures have the same color scale."
    finer = len(items[0].levels if items else LEVELS) - 1
    if not finer:
        return f"Each track is generated at one level. {scale}"
    number, times = _NUMBERS.get(finer + 1, finer + 1), _TIMES.get(finer, f"{finer} times")
    return (
        f"Each track is generated at {number} levels: a coarse sketch, which determines melody and "
        f"rhythm, then {times} with finer detail. {scale}"
    )


def _name_level(item: Item, level: int) -> tuple[str, str]:
    """Returns the title of a level, and a note on it."""
    if level == 0:
        return "The finished track", "level 0, the finest codes"
    if level == item.levels[0]:
        return "The first sketch", f"level {level}, the coarsest codes"
    return "Half-way", f"level {level}"


def render_track(item: Item, assets: Assets) -> page.Html:
    """Returns the section of one item, with a note about levels that are missing."""
    title = " · ".join([f"Track {item.number}", *item.labels])
    cards = []
    for level, wav in item.wavs.items():
        level_title, level_note = _name_level(item, level)
        description = f"{title}, {level_title.lower()} ({level_note})"
        cost = _format_level_cost(item, level)
        cards.append(
            page.card(
                level_title,
                assets.add_sound(wav, f"{item.name}_level_{level}", f"Level {level}", description),
                page.note(cost) if cost else "",
                strong=level == 0,
            )
        )
    lyrics, aligned = item.meta.get("lyrics"), read_alignment(item.folder)
    return page.tag(
        "article",
        page.tag("h2", title),
        page.facts(_list_settings(item)),
        [page.note(line) for line in _list_caveats(item)],
        page.grid(cards) if cards else "",
        _render_takes(item, assets),
        render_alignment(aligned, item.folder, assets) if aligned else "",
        page.details("Text of the lyrics", page.tag("pre", join_text(lyrics))) if lyrics else "",
        page.details("All settings of this track", page.tag("pre", format_indented(item.meta))),
        class_="item",
        id=item.name,
    )


def _render_takes(item: Item, assets: Assets) -> page.Html:
    """Returns links to the files for other programs, where they lie below the page's folder."""
    links = []
    for path in item.takes:
        if path.resolve().is_relative_to(assets.root.resolve()):
            target = page.link(path.resolve().relative_to(assets.root.resolve()))
            links.append(page.tag("li", page.tag("a", path.name, href=target, download=True)))
    if not links:
        return page.Html("")
    return page.details("Files for other programs", page.tag("ul", links))


def format_indented(content: object) -> str:
    """Formats JSON with indentation; values that JSON lacks are converted to text."""
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def describe_tracks(items: Sequence[Item]) -> str:
    """Describes number and length: `2 tracks of 6.0 s`, `3 tracks, 1 min 05 s in all`."""
    count = format_count(len(items), "track")
    lengths = [item.seconds for item in items if item.seconds]
    if not lengths:
        return count
    if len(set(lengths)) == 1:
        return f"{count} of {page.duration(lengths[0])}"
    return f"{count}, {page.duration(sum(lengths))} in all"


def _format_level_cost(item: Item, level: int) -> str:
    timings = item.meta.get("timings")
    seconds = parse_number(timings.get(f"level_{level}")) if isinstance(timings, dict) else None
    return "" if seconds is None else f"Level {level}: computed in {page.duration(seconds)}."


def _list_settings(item: Item) -> list[tuple[str, object]]:
    meta = item.meta
    levels = ", ".join(map(str, item.levels))
    pairs = [
        ("length", page.duration(item.seconds)),
        ("seed", meta.get("seed")),
        ("mode", meta.get("mode")),
        (f"temperature {levels}", _format_by_level(item, meta.get("temperature"))),
        *(
            (f"{name} {levels}", _format_by_level(item, meta.get(key)))
            for name, key in (("top k", "top_k"), ("top p", "top_p"), ("min p", "min_p"))
            if _is_any_set(meta.get(key))
        ),
    ]
    if parse_number(meta.get("prompt_seconds")):
        pairs.append(("prompt (given, not generated)", page.duration(meta["prompt_seconds"])))
    timings = meta.get("timings")
    if isinstance(timings, dict):
        total = sum(parse_number(seconds) or 0 for seconds in timings.values())
        pairs.append(("computed in", page.duration(total)))
    cost = parse_number(meta.get("seconds_per_second_of_audio"))
    if cost is not None:
        pairs.append(("per second of music", page.number(cost, ".1f", "s")))
    return [(name, value) for name, value in pairs if value not in (None, "", "–")]


def _is_any_set(value: object) -> bool:
    """Returns true if a setting, of all levels or by level, is not 0 everywhere."""
    return any(map(parse_number, value.values() if isinstance(value, dict) else [value]))


def _format_by_level(item: Item, value: object) -> object:
    """Formats a setting with a value for each level, the coarsest level first."""
    if isinstance(value, dict):
        value = [value.get(f"level_{level}") for level in sorted(item.levels)]
    if not isinstance(value, list | tuple):
        return value
    return ", ".join(str(setting) for setting in reversed(value) if setting is not None)


def _list_caveats(item: Item) -> list[str]:
    """Lists levels that are missing and levels whose volume was reduced."""
    lines = []
    missing = [level for level in item.levels if level not in item.wavs]
    if missing:
        names = " and ".join(f"level {level}" for level in missing)
        verb = "is" if len(missing) == 1 else "are"
        lines.append(
            f"Unfinished: {names} {verb} missing (in progress, interrupted, or not requested)."
        )
    gains = item.meta.get("gain")
    for level in sorted(item.levels):
        gain = parse_number(gains.get(f"level_{level}")) if isinstance(gains, dict) else None
        if gain is not None and 0 < gain < 1:
            lines.append(
                f"Level {level} exceeded the range of the file format and was attenuated "
                f"to {100 * gain:.0f} % "
                f"({page.number(20 * math.log10(gain), '.1f')} dB); no sample was clipped."
            )
    return lines
