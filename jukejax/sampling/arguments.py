"""Requests for tracks from values: arguments of the API, or those of flags (`flag_requests`).

Messages name flags; see `common.messages`. JAX is not imported, so that they come at once.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jukejax.common.formatting import format_count
from jukejax.data.audio import Recording
from jukejax.data.grid import parse_key
from jukejax.data.labels import LABEL_NAMES
from jukejax.sampling.request import ALL, Request
from jukejax.sampling.request_values import resolve_seconds
from jukejax.sampling.source import SourceTrack
from jukejax.weights.recommended_settings import PER_LEVEL, fill_settings

if TYPE_CHECKING:
    from jukejax.sampling.tracks import Tracks

_NUMBERS = (
    *("bpm", "seconds", "bars", "prompt_seconds", "first_beat"),
    *("total_seconds", "offset_seconds", "memory_fraction"),
)
_WHOLE_NUMBERS = ("seed", "num_samples", "first_item", "candidates", "sample_rate")
_MODES = {"prompt": "primed", "codes": "continue"}  # of a source, if no mode is given


def make_request(arguments: Mapping[str, Any], sample_rate: int) -> Request:
    """Returns the request of the arguments of `api.Jukebox.sample`.

    Args:
      arguments: may also have other attributes of `Request`, and `first_item`.
      sample_rate: of a prompt whose own is not given.

    Raises:
      ValueError: a value is of a wrong type, out of range, or contradicts another one.
    """
    values = _check_numbers(arguments)
    levels = _list_levels(values["levels"])
    values |= {name: _spread(name, values[name], levels) for name in PER_LEVEL}
    values["top_k"] = {level: _to_whole("top_k", k) for level, k in values["top_k"].items()}
    rate, bars, count = (values.pop(name) for name in ("sample_rate", "bars", "num_samples"))
    first_item = values.pop("first_item", 0)
    return Request(
        **values
        | {
            "levels": levels,
            "mode": values["mode"] or _choose_mode(values),
            "seconds": resolve_seconds(values["seconds"], bars, values["bpm"]),
            "is_exact": bars is not None,
            "key": None if values["key"] is None else parse_key(values["key"]),
            "guided_labels": _list_guided_labels(values["guided_labels"]),
            "reroll": _convert_range(values["reroll"]),
            "prompt": _open_prompt(values["prompt"], rate or sample_rate),
            "codes": _open_codes(values["codes"]),
            "items": range(first_item, first_item + count),
        }
    )


def fill_arguments(arguments: Mapping[str, Any], recommended: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with the settings of `fill_settings` for those that are None."""
    return fill_settings(arguments, _list_levels(arguments["levels"]), recommended)


def list_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a request as JSON values; arrays by their sha256."""
    return {name: _to_json(value) for name, value in arguments.items()}


def _check_numbers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with Python's numbers for NumPy's."""
    values = dict(arguments)
    for name in _NUMBERS:
        if values.get(name) is not None:
            if not _is_number(values[name]):
                raise ValueError(f"--{name}={values[name]!r} is not a number")
            values[name] = float(values[name])
    for name in _WHOLE_NUMBERS:
        if values.get(name) is not None:
            values[name] = _to_whole(name, values[name])
    return values


def _to_whole(name: str, value: Any) -> int:
    if not _is_number(value) or value != int(value):
        raise ValueError(f"--{name}={value!r} is not a whole number")
    return int(value)


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.integer | np.floating)
    return is_real and not isinstance(value, bool) and math.isfinite(value)


def _list_levels(levels: int | Sequence[int]) -> tuple[int, ...]:
    numbers = [levels] if isinstance(levels, int | np.integer) else list(levels)
    if not all(isinstance(level, int | np.integer) for level in numbers):
        raise ValueError(f"--levels={levels!r} are not whole numbers; give some such as (2, 1, 0)")
    return tuple(int(level) for level in numbers)


def _list_guided_labels(names: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of labels; "all" stands for all of them."""
    if not isinstance(names, Sequence):
        raise ValueError(f"--guided_labels={names!r} is not a list of names, such as ['key']")
    listed = (names,) if isinstance(names, str) else tuple(names)
    return LABEL_NAMES if listed == (ALL,) else listed


def _spread(name: str, value: float | Sequence[float], levels: Sequence[int]) -> dict[int, float]:
    """Returns one number for all levels, or one for each, as {level: number}."""
    numbers = [value] * len(levels) if _is_number(value) else np.ravel(value).tolist()
    rule = f"must be one number, or one for each level: {', '.join(map(str, levels))}"
    if not all(map(_is_number, numbers)):
        raise ValueError(f"--{name}={value!r} {rule}")
    if len(numbers) != len(levels):
        counts = format_count(len(numbers), "number"), format_count(len(levels), "level")
        raise ValueError(f"--{name} has {counts[0]} for {counts[1]}; it {rule}")
    return {level: float(number) for level, number in zip(levels, numbers, strict=True)}


def _convert_range(reroll: Sequence[float] | None) -> tuple[float, float] | None:
    if reroll is None:
        return None
    if len(reroll) != 2 or not all(map(_is_number, reroll)):
        raise ValueError(
            f"--reroll={reroll!r} is not a range in seconds; give one such as (8, 12.5)"
        )
    return float(reroll[0]), float(reroll[1])


def _choose_mode(values: Mapping[str, Any]) -> str:
    """Returns the mode of the sources that are given."""
    if values["reroll"] is not None:
        return "reroll"
    modes = [mode for name, mode in _MODES.items() if values[name] is not None]
    if len(modes) > 1:
        raise ValueError("--prompt and --codes are both given; remove one of them")
    return modes[0] if modes else "ancestral"


def _open_prompt(prompt: np.ndarray | str | Path | None, rate: int) -> Recording | str | None:
    if prompt is None or isinstance(prompt, str | Path):
        return None if prompt is None else os.fspath(prompt)
    return Recording(prompt, rate)


def _open_codes(codes: "Tracks | str | Path | None") -> SourceTrack | str | None:
    if codes is None or isinstance(codes, str | Path):
        return None if codes is None else os.fspath(codes)
    from jukejax.sampling.tracks import Tracks

    if not isinstance(codes, Tracks):
        raise ValueError(
            f"--codes is {type(codes).__name__}; give one of the tracks of sample, such as "
            "tracks[0], or the path of a codes.npz"
        )
    return codes.to_source()


def _to_json(value: Any) -> Any:
    from jukejax.sampling.tracks import Tracks

    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value, np.float32).data
        return f"sha256 {hashlib.sha256(data).hexdigest()}"
    if isinstance(value, Tracks):
        return {"item": value.descriptions[0]["item"], "settings": value.settings}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | range):
        return [_to_json(each) for each in value]
    return value
