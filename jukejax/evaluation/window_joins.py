"""Audibility of the joins between windows in generated tracks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jukejax.analysis.seams import measure_seams
from jukejax.common.json_values import parse_number
from jukejax.data import audio, decoding
from jukejax.data.sample_items import Item, read_items
from jukejax.evaluation.sound_sets import Entry
from jukejax.inference.loaded_model import Model
from jukejax.inference.windows import plan_windows
from jukejax.sampling.initial_state import find_reroll_span

DEFAULT_HOP_FRACTION = 0.5  # hop fraction of sample folders without a record of it


def find_joins(model: Model, item: Item, level: int) -> list[int]:
    """Returns the first codes of windows in a generated track.

    The joins of parallel windows are not recorded in a sample folder; `bench decode` measures them.

    Returns:
      [] if the joins are unknown, or the level was not sampled.
    """
    meta = item.meta
    if level not in model.levels or not _was_sampled_in_order(model, item, level):
        return []
    total = model.totals(model.top_codes(item.seconds or 0.0, round))[level]
    fractions = meta.get("hop_fraction")
    recorded = fractions.get(f"level_{level}") if isinstance(fractions, dict) else None
    hop = model.window_hop(level, parse_number(recorded) or DEFAULT_HOP_FRACTION)
    prompt_seconds = parse_number(meta.get("prompt_seconds")) or 0.0
    begin, end = round(prompt_seconds * model.sample_rate / model.hops[level]), total
    if meta.get("mode") == "reroll" and meta.get("reroll"):
        begin, end = find_reroll_span(tuple(meta["reroll"]), model, level, total)
    plan = plan_windows(end, model.read_config(level).seq_len, hop, begin)
    joins = [window.start + window.fixed for window in plan if window.start + window.fixed]
    return joins + [end] * (end < total)


def _was_sampled_in_order(model: Model, item: Item, level: int) -> bool:
    """Returns true if a level was sampled sequentially, and not given by the user."""
    if item.meta.get("schedule") == "parallel" and level < max(model.levels):
        return False
    if item.meta.get("mode") == "upsample" and level == len(model.hops) - 1:
        return False
    temperatures = item.meta.get("temperature")
    return not isinstance(temperatures, dict) or f"level_{level}" in temperatures


def measure_generated_joins(
    model: Model, folder: Path, references: Sequence[Entry]
) -> Iterator[tuple[int, list[dict], list[dict]]]:
    """Measures sounds at the joins of generated tracks, level by level.

    Yields:
      Level; figures of `measure_seams` for each track; and those of each reference track at the
      same positions, where nothing was joined.
    """
    items = read_items(folder)
    reference_sounds = [entry.read() for entry in references[: len(items)]]
    for level in sorted(model.levels, reverse=True):
        figures, reference_figures = [], []
        for number, item in enumerate(items):
            borders = [code * model.hops[level] for code in find_joins(model, item, level)]
            if level not in item.wavs or not borders:
                continue
            sound, rate = decoding.decode_file(item.wavs[level])
            figures.append(measure_seams(sound, rate, borders)._asdict())
            if number < len(reference_sounds):
                seams = measure_seams(reference_sounds[number], audio.SAMPLE_RATE, borders)
                reference_figures.append(seams._asdict())
        if figures:
            yield level, figures, reference_figures
