"""Requests from the values of flags, which the command line or a line of a request file has."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jukejax.common import files, mirrors
from jukejax.data.grid import Grid, merge_grids
from jukejax.data.lrc import has_line_times, parse_lrc
from jukejax.sampling import arguments
from jukejax.sampling.request import Request
from jukejax.sampling.request_flags import NAMES
from jukejax.sampling.request_values import (
    parse_bar_range,
    parse_integers,
    parse_numbers,
    parse_range,
)
from jukejax.weights.recommended_settings import PER_LEVEL, fill_settings

_HASHED = ("lyrics_file", "prompt", "codes")  # files whose content the tracks depend on


def make_flag_request(values: Mapping[str, Any], model: Mapping[str, Any]) -> Request:
    """Returns the request that the values of `fill_flags` describe.

    Args:
      model: description of the bundle.

    Raises:
      ValueError: a value is out of range, or contradicts another one.
    """
    levels = parse_integers("levels", choose_levels(values, model["hops"]))
    converted: dict[str, Any] = {
        "levels": levels,
        "lyrics": read_lyrics(values),
        "reroll": read_reroll(values, model["sample_rate"]),
        "sample_rate": None,
    }
    for name in PER_LEVEL:
        numbers = parse_numbers(name, values[name])
        converted[name] = numbers[0] if len(numbers) == 1 else numbers
    rest = {name: value for name, value in values.items() if name != "lyrics_file"}
    return arguments.make_request(rest | converted, model["sample_rate"])


def fill_flags(values: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of `request_flags.read_values`, open ones as the model recommends.

    Args:
      model: description of the bundle.
    """
    levels = parse_integers("levels", choose_levels(values, model["hops"]))
    filled = fill_settings(values, levels, model.get("sampling") or {})
    for name in (*PER_LEVEL, "guided_labels"):  # lists of texts, as those of flags
        value = filled[name]
        filled[name] = [str(item) for item in (value if isinstance(value, list) else [value])]
    return filled


def choose_levels(values: Mapping[str, Any], hops: Sequence[int]) -> list[str]:
    """Returns the levels, or else all levels of a model with these hops, from coarse to fine."""
    if values["levels"] is not None:
        return values["levels"]
    return [str(level) for level in reversed(range(len(hops)))]


def read_lyrics(values: Mapping[str, Any]) -> str:
    """Returns the text of the lyrics, of an LRC file without its times; "" without any."""
    path, text = values["lyrics_file"], values["lyrics"]
    if path is not None and text is not None:
        raise ValueError("--lyrics and --lyrics_file are both given; remove one of them")
    if path is not None:
        files.check_regular(path)
        try:
            text = Path(path).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"--lyrics_file={path} is not UTF-8 text") from error
    text = text or ""
    return parse_lrc(text).text if has_line_times(text) else text


def read_reroll(values: Mapping[str, Any], sample_rate: int) -> tuple[float, float] | None:
    """Returns the range of --reroll in seconds; bars are those of --codes."""
    text, codes, first_beat = (values[name] for name in ("reroll", "codes", "first_beat"))
    if text is None or codes is None:
        return None if text is None else parse_range(text)
    from jukejax.sampling.folder import read_grid

    own = Grid(values["bpm"], None if first_beat is None else first_beat * sample_rate)
    bars = parse_bar_range(text, merge_grids(own, read_grid(codes)), sample_rate)
    return bars or parse_range(text)


def collect_settings(values: Mapping[str, Any], hops: Sequence[int]) -> dict[str, Any]:
    """Returns all values that affect the tracks, with the sha256 of files."""
    settings = {name: values[name] for name in NAMES}
    settings["levels"] = choose_levels(values, hops)
    for name in _HASHED:
        if values[name] is not None:
            files.check_regular(values[name])
            content = Path(values[name]).read_bytes()
            settings[name] = mirrors.restore_names(values[name])
            settings[f"{name}_sha256"] = hashlib.sha256(content).hexdigest()
    return settings
