"""What each level has before sampling begins: a prompt, an earlier track, the level above.

Dimensions: t codes of a level.
"""

import dataclasses
import math
import sys
from typing import NamedTuple

import numpy as np

from jukejax.data import audio
from jukejax.inference.conditioning import Labels
from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import Codes, read_codes, read_told
from jukejax.sampling.request import DEFAULT_SECONDS, Request


class Start(NamedTuple):
    """Where sampling begins, the same for all items.

    Attributes:
      levels: to make, from coarse to fine.
      totals: codes of a finished track, by level.
      codes: {level: int32 [t]} that are there already. When re-rolling: the track as it was.
      prompt_seconds: of the track, from its start, that were given and are kept.
      labels: what each level to make is told.
    """

    levels: list[int]
    totals: dict[int, int]
    codes: Codes
    prompt_seconds: float
    labels: dict[int, Labels]


def levels_to_make(wanted: tuple[int, ...], model: Model) -> list[int]:
    """The levels that the model can make, saying so where it has to stop early.

    Raises:
      ValueError: it has none of them, or none of the first.
    """
    missing = [level for level in wanted if level not in model.levels]
    kept = [level for level in wanted if level > max(missing, default=-1)]
    if not kept:
        have = ", ".join(map(str, model.levels))
        raise ValueError(f"{model.folder} has no prior for level {wanted[0]}; it has {have}")
    if missing:
        print(f"the model has no level {missing[0]}: stopping at level {kept[-1]}", file=sys.stderr)
    return kept


def with_labels(model: Model, request: Request) -> Request:
    """The request with the artist, genre and lyrics of the sample that it starts from, where it
    names none of its own and the model knows them."""
    if request.codes is None or request.artist or request.genre or request.lyrics:
        return request
    told = read_told(request.codes)
    labelled = dataclasses.replace(request, **told)
    names = ", ".join(f"--{name}={value!r}" for name, value in told.items() if name != "lyrics")
    try:
        for level in set(request.levels) & set(model.levels):
            _labels(model, labelled, level, model.totals(1))
    except ValueError as error:
        print(f"without the labels of {request.codes}: {error}", file=sys.stderr)
        return request
    if names:
        print(f"as {request.codes} was made: {names}", file=sys.stderr)
    return labelled


def begin(model: Model, request: Request) -> Start:
    """Reads what the request starts from and fits it to the track's length.

    Raises:
      ValueError: too little is given for the levels to make, or so much that nothing is left; a
        name that the model does not know.
    """
    levels = levels_to_make(request.levels, model)
    first = levels[0]
    codes = _source(model, request, first)
    totals = _totals(model, request, codes)
    codes = {level: value[: totals[level]] for level, value in codes.items() if level in totals}
    _check_above(model, first, totals, codes)
    labels = {level: _labels(model, request, level, totals) for level in levels}
    given = _given_seconds(model, request, levels, totals, codes)
    return Start(levels, totals, codes, given, labels)


def _given_seconds(
    model: Model, request: Request, levels: list[int], totals: dict[int, int], codes: Codes
) -> float:
    """`Start.prompt_seconds`, after checks that there is something to start from and to make."""
    first = levels[0]
    there = {level: len(codes.get(level, ())) for level in levels}
    hop = model.hops[first] / model.sample_rate
    match request.mode:
        case "ancestral":
            return 0.0
        case "reroll":
            _check_reroll(request, levels, totals, there, hop)
            return request.reroll[0]
    if all(there[level] == totals[level] for level in levels):
        raise ValueError(_filled(totals[first] * hop))
    if request.mode == "upsample":
        return 0.0
    if not there[first]:
        raise ValueError(
            f"the starting codes have none of level {first}; --mode=upsample makes it anew"
        )
    return there[first] * hop


def _filled(seconds: float) -> str:
    return (
        f"nothing is left to make: what is given fills all {seconds:.2f} s; raise --seconds, or "
        "take less of it with --prompt_seconds"
    )


def _labels(model: Model, request: Request, level: int, totals: dict[int, int]) -> Labels:
    if request.lyrics and not model.has_lyrics():
        raise ValueError(f"{model.folder} was made without lyrics; leave --lyrics_file away")
    length = totals[level] * model.hops[level] / model.sample_rate
    return model.encode_labels(
        level,
        artist=request.artist,
        genre=request.genre,
        total_seconds=request.total_seconds or request.offset_seconds + length,
        offset_seconds=request.offset_seconds,
        text=request.lyrics,
    )


def _source(model: Model, request: Request, first: int) -> Codes:
    """The codes that the request starts from, {level: [t]}, whole."""
    if request.prompt is not None:
        try:
            sound = audio.load_audio(request.prompt, model.sample_rate)
        except ValueError as error:
            raise ValueError(f"--prompt={request.prompt} cannot be used: {error}") from error
        if request.prompt_seconds is not None:
            sound = sound[: int(request.prompt_seconds * model.sample_rate)]
        _check_length(model, request, model.top_codes(len(sound) / model.sample_rate, math.floor))
        codes = dict(enumerate(model.codec.encode(sound)))
    elif request.codes is not None:
        codes = read_codes(request.codes)
        size = model.codec.config.codebook_size
        for level, value in codes.items():
            if level >= len(model.hops) or value.max(initial=0) >= size:
                raise ValueError(
                    f"--codes={request.codes} does not fit {model.folder}: its level {level} has "
                    f"code {value.max(initial=0)}, the model {len(model.hops)} levels of {size} "
                    "codes"
                )
        if request.prompt_seconds is not None:
            kept = model.totals(model.top_codes(request.prompt_seconds, math.floor))
            codes = {level: value[: kept[level]] for level, value in codes.items()}
    else:
        return {}
    if request.mode == "upsample" and codes:
        codes = {level: v for level, v in codes.items() if level > first or level == max(codes)}
    return codes


def _check_length(model: Model, request: Request, source: int) -> None:
    """Of a recording of so many top-level codes, before the long work of encoding it."""
    seconds = request.seconds or DEFAULT_SECONDS
    if request.mode == "upsample":
        _check_upsampled(model, request, source)
    elif source > model.top_codes(seconds):
        raise ValueError(_filled(seconds))


def _check_upsampled(model: Model, request: Request, source: int) -> None:
    if request.seconds is not None and model.top_codes(request.seconds) > source:
        raise ValueError(
            f"--seconds={request.seconds:g} is more than the {model.seconds(source):.2f} s that "
            "are given; leave --seconds away to take all of it"
        )


def _totals(model: Model, request: Request, codes: Codes) -> dict[int, int]:
    """Codes of each level in the finished track."""
    if request.mode not in ("upsample", "reroll"):
        return model.totals(model.top_codes(request.seconds or DEFAULT_SECONDS))
    if not codes:
        raise ValueError(f"--codes={request.codes} holds no codes")
    highest = max(codes)
    source = len(codes[highest]) * model.hops[highest] // model.hops[-1]
    _check_upsampled(model, request, source)
    wanted = source if request.seconds is None else model.top_codes(request.seconds)
    return model.totals(wanted)


def _check_above(model: Model, first: int, totals: dict[int, int], codes: Codes) -> None:
    """The first level to make needs the whole level above it, unless it is the top one."""
    if model.read_config(first).upper is None:
        return
    above = len(codes.get(first + 1, ()))
    if above < totals[first + 1]:
        raise ValueError(
            f"level {first} needs {totals[first + 1]} codes of level {first + 1}, the starting "
            f"codes have {above}: begin --levels higher, or shorten --seconds"
        )


def _check_reroll(
    request: Request, levels: list[int], totals: dict[int, int], there: dict[int, int], hop: float
) -> None:
    for level in levels:
        if there[level] != totals[level]:
            raise ValueError(
                f"--codes={request.codes} has {there[level]} of the {totals[level]} codes of level "
                f"{level}: only whole levels can be re-rolled; leave it out of --levels"
            )
    start, stop = request.reroll
    end = totals[levels[0]] * hop
    if start >= end or stop > math.ceil(100 * end) / 100:
        verb = "begins" if start >= end else "ends"
        raise ValueError(
            f"--reroll={start:g}:{stop:g} {verb} behind the end of the track, {end:.2f} s"
        )


def reroll_span(
    reroll: tuple[float, float], model: Model, level: int, total: int
) -> tuple[int, int]:
    """The range of seconds in codes of a level, widened to whole codes of the top level."""
    width = model.hops[-1] // model.hops[level]
    start, stop = reroll
    first = model.top_codes(start, math.floor)
    return first * width, min(max(model.top_codes(stop), first + 1) * width, total)


def repeated(codes: Codes, count: int) -> Codes:
    """{level: [t]} to {level: [count, t]}."""
    return {level: np.tile(value, (count, 1)) for level, value in codes.items()}
