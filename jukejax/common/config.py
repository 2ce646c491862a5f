"""Conversion of dictionaries (of configs and JSON files) to frozen dataclasses, with checks."""

import collections.abc
import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_MAX_SHOWN = 60  # characters of a value in a message


def freeze(
    cls: type[T], values: Mapping[str, Any], where: str = "config", *, ignore_unknown: bool = False
) -> T:
    """Builds a frozen dataclass from a mapping, and checks the types of its values by its hints.

    Lists become tuples, as does text with commas for a field that is a tuple; nested mappings
    become nested dataclasses.

    Args:
      where: name of the mapping, for messages.
      ignore_unknown: omit unknown keys, of files that other versions may have written.

    Raises:
      ValueError: a key is unknown (the message has the nearest known key) or missing, or a value is
        of another type.
    """
    fields, required = _list_fields(cls)  # type: ignore[arg-type]  # classes are hashable
    if not hasattr(values, "keys"):  # a ConfigDict is no Mapping
        raise ValueError(f"{where} is {_shorten(values)}, not an object with {', '.join(fields)}")
    if not ignore_unknown:
        check_keys(values, list(fields), where)
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    arguments = {
        name: _convert(values[name], hint, f"{where}.{name}", ignore_unknown)
        for name, hint in fields.items()
        if name in values
    }
    return cls(**arguments)


@functools.cache
def _list_fields(cls: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the hints of a dataclass by field, and the fields without a default."""
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return {field.name: hints[field.name] for field in fields}, tuple(required)


_SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int, np.integer), "an integer"),
    float: ((int, float, np.integer, np.floating), "a number"),
    str: ((str,), "text"),
}


def _convert(value: Any, hint: Any, where: str, ignore_unknown: bool) -> Any:
    """Converts a value to the type of a hint; hints of other kinds are not checked.

    Raises:
      ValueError: the value is of another type.
    """
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        (hint,) = (option for option in options if option is not type(None))
        return _convert(value, hint, where, ignore_unknown)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        is_instance = isinstance(value, hint)
        return value if is_instance else freeze(hint, value, where, ignore_unknown=ignore_unknown)
    if origin is tuple:
        return _convert_tuple(value, options, where, ignore_unknown)
    if hint in _SCALARS:
        accepted, name = _SCALARS[hint]
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise ValueError(f"{where} is {_shorten(value)}, not {name}")
    elif origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {_shorten(value)}, not a list")
        return [
            _convert(item, options[0], f"{where}[{i}]", ignore_unknown)
            for i, item in enumerate(value)
        ]
    elif origin in (dict, collections.abc.Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {_shorten(value)}, not an object")
        return {
            key: _convert(item, options[1], f"{where}.{key}", ignore_unknown)
            for key, item in value.items()
        }
    return value


def _convert_tuple(value: Any, options: tuple, where: str, ignore_unknown: bool) -> tuple:
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is {_shorten(value)}, not a list")
    if options[-1] is not Ellipsis:
        if len(value) != len(options):
            raise ValueError(f"{where} has {len(value)} entries, not {len(options)}")
    else:
        options = options[:1] * len(value)
    return tuple(
        _convert(item, option, f"{where}[{i}]", ignore_unknown)
        for i, (item, option) in enumerate(zip(value, options, strict=True))
    )


def _shorten(value: Any) -> str:
    """Formats a value for a message."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raises ValueError for an unknown key; the message has the nearest known key."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"unknown key {where}.{name}{hint}")


def to_plain(value: Any) -> Any:
    """Converts a dataclass (nested too) to dictionaries and lists that JSON can represent."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value
