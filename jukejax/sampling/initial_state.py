"""The codes of each level before sampling: a prompt, an earlier track, or the level above.

Dimensions: t codes of a level.
"""

import dataclasses
import math
import sys
from typing import NamedTuple

from jukejax.data import audio
from jukejax.data.grid import Grid
from jukejax.inference.conditioning import Labels
from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import Codes, read_source_track
from jukejax.sampling.request import DEFAULT_SECONDS, Request
from jukejax.sampling.source import NAMED_LABELS, SourceTrack
from jukejax.sampling.track_grid import find_grid
from jukejax.weights.codec_identity import compare_codecs


class InitialState(NamedTuple):
    """The state of a track before sampling.

    Attributes:
      levels: levels to sample, from coarse to fine.
      totals: codes of a finished track, by level.
      codes: {level: int32 [t]}, the fixed codes; for a re-roll all codes of the original track.
      prompt_seconds: length of the prompt.
      labels: labels of the track, for each level to sample.
      grid: of the track, from its start.
    """

    levels: list[int]
    totals: dict[int, int]
    codes: Codes
    prompt_seconds: float
    labels: dict[int, Labels]
    grid: Grid

    def seconds(self, model: Model) -> float:
        """Returns the length of a finished track."""
        first = self.levels[0]
        return self.totals[first] * model.hops[first] / model.sample_rate


def select_levels(requested: tuple[int, ...], model: Model) -> list[int]:
    """Returns the levels that the model can sample; prints a line if some are missing.

    Raises:
      ValueError: the model has no prior for the first level.
    """
    missing = [level for level in requested if level not in model.levels]
    levels = [level for level in requested if level > max(missing, default=-1)]
    if not levels:
        available = ", ".join(map(str, model.levels))
        raise ValueError(
            f"{model.folder} has no prior for level {requested[0]}; it has {available}"
        )
    if missing:
        print(
            f"the model has no level {missing[0]}: stopping at level {levels[-1]}", file=sys.stderr
        )
    return levels


def inherit_labels(model: Model, request: Request) -> Request:
    """Returns the request with the artist, genre and lyrics of its source sample.

    The request is not changed if it has one of them, or if the names are not in the model's
    vocabulary.
    """
    if request.codes is None or any(getattr(request, name) for name in NAMED_LABELS):
        return request
    inherited = read_source_track(request.codes).names
    labeled: Request = dataclasses.replace(request, **inherited)  # type: ignore[arg-type]  # strings
    names = ", ".join(
        f"--{name}={value!r}" for name, value in inherited.items() if name != "lyrics"
    )
    try:
        for level in set(request.levels) & set(model.levels):
            _encode_labels(model, labeled, level, model.totals(1))
    except ValueError as error:
        print(f"without the labels of {request.codes}: {error}", file=sys.stderr)
        return request
    if names:
        print(f"as {request.codes} was made: {names}", file=sys.stderr)
    return labeled


def read_initial_state(model: Model, request: Request) -> InitialState:
    """Reads the codes or the recording of the request, and derives the initial state.

    Raises:
      ValueError: there are too few codes for the levels to sample, or all codes are given; or a
        name is not in the model's vocabulary.
    """
    levels = select_levels(request.levels, model)
    first = levels[0]
    codes = _read_source(model, request, first)
    totals = _find_totals(model, request, codes)
    codes = {level: value[: totals[level]] for level, value in codes.items() if level in totals}
    _check_upper_level(model, first, totals, codes)
    grid = find_grid(model, request, levels)
    labels = {
        level: _encode_labels(model, request, level, totals)._replace(grid=grid) for level in levels
    }
    prompt_seconds = _find_prompt_seconds(model, request, levels, totals, codes)
    return InitialState(levels, totals, codes, prompt_seconds, labels, grid)


def _find_prompt_seconds(
    model: Model, request: Request, levels: list[int], totals: dict[int, int], codes: Codes
) -> float:
    """Returns the length of the prompt; checks that it is neither empty nor the whole track."""
    first = levels[0]
    lengths = {level: len(codes.get(level, ())) for level in levels}
    hop = model.hops[first] / model.sample_rate
    match request.mode:
        case "ancestral":
            return 0.0
        case "reroll":
            _check_reroll(request, levels, totals, lengths, hop)
            assert request.reroll is not None
            return request.reroll[0]
    if all(lengths[level] == totals[level] for level in levels):
        raise ValueError(_format_nothing_left(totals[first] * hop))
    if request.mode == "upsample":
        return 0.0
    if not lengths[first]:
        raise ValueError(
            f"the starting codes have none of level {first}; --mode=upsample generates it"
        )
    return lengths[first] * hop


def _format_nothing_left(seconds: float) -> str:
    return (
        f"nothing is left to sample: the given codes fill all {seconds:.2f} s; raise --seconds, or "
        "shorten the prompt with --prompt_seconds"
    )


def _encode_labels(model: Model, request: Request, level: int, totals: dict[int, int]) -> Labels:
    if request.lyrics and not model.has_lyrics():
        raise ValueError(f"{model.folder} was made without lyrics; remove --lyrics_file")
    length = totals[level] * model.hops[level] / model.sample_rate
    return model.encode_labels(
        level,
        artist=request.artist,
        genre=request.genre,
        total_seconds=request.total_seconds or request.offset_seconds + length,
        offset_seconds=request.offset_seconds,
        text=request.lyrics,
    )


def _read_source(model: Model, request: Request, first: int) -> Codes:
    """Reads all codes of the source of the request, {level: [t]}."""
    if request.prompt is not None:
        codes = _encode_prompt(model, request)
    elif request.codes is not None:
        track = read_source_track(request.codes)
        _check_source_track(model, request.codes, track)
        codes = track.codes
        if request.prompt_seconds is not None:
            lengths = model.totals(model.top_codes(request.prompt_seconds, math.floor))
            codes = {level: value[: lengths[level]] for level, value in codes.items()}
    else:
        return {}
    if request.mode == "upsample" and codes:
        codes = {level: v for level, v in codes.items() if level > first or level == max(codes)}
    return codes


def _check_source_track(model: Model, source: str | SourceTrack, track: SourceTrack) -> None:
    """Checks that the codes of a track are codes of the model's VQ-VAE."""
    if compare_codecs(track.vqvae, model.codec.identity) is False:
        raise ValueError(
            f"--codes={source} was made with another VQ-VAE than that of {model.folder}; take a "
            "model with that VQ-VAE, or give the sound as --prompt"
        )
    size = model.codec.config.codebook_size
    for level, value in track.codes.items():
        if not len(value):
            raise ValueError(f"--codes={source} holds no code of level {level}")
        if level >= len(model.hops) or value.max() >= size:
            raise ValueError(
                f"--codes={source} does not fit {model.folder}: its level {level} has code "
                f"{value.max()}, the model {len(model.hops)} levels of {size} codes"
            )
    if not track.codes:
        raise ValueError(f"--codes={source} holds no codes")


def _encode_prompt(model: Model, request: Request) -> Codes:
    prompt, used_seconds = request.prompt, request.find_used_seconds()
    assert prompt is not None
    try:
        loaded = audio.load_audio(prompt, model.sample_rate, max_seconds=used_seconds)
    except ValueError as error:
        raise ValueError(f"--prompt={prompt} cannot be used: {error}") from error
    for note in loaded.notes:
        print(f"--prompt={prompt}: {note}")
    sound = loaded.samples
    if request.prompt_seconds is not None:
        sound = sound[: int(request.prompt_seconds * model.sample_rate)]
    top_codes = model.top_codes(len(sound) / model.sample_rate, math.floor)
    _check_prompt_length(model, request, top_codes)
    return dict(enumerate(model.codec.encode(sound)))


def _check_prompt_length(model: Model, request: Request, top_codes: int) -> None:
    """Checks the length of a recording before the slow encoding."""
    seconds = request.seconds or DEFAULT_SECONDS
    if request.mode == "upsample":
        _check_upsampled_length(model, request, top_codes)
    elif top_codes > model.top_codes(seconds):
        raise ValueError(_format_nothing_left(seconds))


def _check_upsampled_length(model: Model, request: Request, top_codes: int) -> None:
    if request.seconds is not None and model.top_codes(request.seconds) > top_codes:
        raise ValueError(
            f"--seconds={request.seconds:g} is more than the {model.seconds(top_codes):.2f} s that "
            "are given; remove --seconds to use all of it"
        )


def _find_totals(model: Model, request: Request, codes: Codes) -> dict[int, int]:
    """Returns the number of codes of each level in the finished track."""
    if request.mode not in ("upsample", "reroll"):
        return model.totals(model.top_codes(request.seconds or DEFAULT_SECONDS))
    highest = max(codes)
    top_codes = len(codes[highest]) * model.hops[highest] // model.hops[-1]
    _check_upsampled_length(model, request, top_codes)
    if request.seconds is not None:
        top_codes = model.top_codes(request.seconds)
    return model.totals(top_codes)


def _check_upper_level(model: Model, first: int, totals: dict[int, int], codes: Codes) -> None:
    """Checks that the level above the first level to sample is complete, if there is one."""
    if model.read_config(first).upper is None:
        return
    length = len(codes.get(first + 1, ()))
    if length < totals[first + 1]:
        raise ValueError(
            f"level {first} needs {totals[first + 1]} codes of level {first + 1}, the starting "
            f"codes have {length}: begin --levels higher, or shorten --seconds"
        )


def _check_reroll(
    request: Request, levels: list[int], totals: dict[int, int], lengths: dict[int, int], hop: float
) -> None:
    """Checks that the range to re-roll is within the track, and that its levels are complete."""
    for level in levels:
        if lengths[level] != totals[level]:
            raise ValueError(
                f"--codes={request.codes} has {lengths[level]} of the {totals[level]} codes of "
                f"level {level}: only whole levels can be re-rolled; remove it from --levels"
            )
    assert request.reroll is not None
    start, stop = request.reroll
    end = totals[levels[0]] * hop
    if start >= end or stop > math.ceil(100 * end) / 100:
        verb = "begins" if start >= end else "ends"
        raise ValueError(
            f"--reroll={start:g}:{stop:g} {verb} after the end of the track, {end:.2f} s"
        )


def find_reroll_span(
    reroll: tuple[float, float], model: Model, level: int, total: int
) -> tuple[int, int]:
    """Converts a range in seconds to codes of a level, widened to whole codes of the top level."""
    width = model.hops[-1] // model.hops[level]
    start, stop = reroll
    first = model.top_codes(start, math.floor)
    return first * width, min(max(model.top_codes(stop), first + 1) * width, total)
