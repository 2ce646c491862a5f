"""Conversion of a config file's dictionaries to frozen dataclasses, and checks of their keys."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def _find_dataclass(hint: Any) -> Any:
    """Returns the dataclass in `X` or `X | None`; None for other types."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def freeze(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Builds a frozen dataclass from a mapping.

    Lists become tuples, as does text with commas for a field that is a tuple; nested mappings
    become nested dataclasses.

    Raises:
      ValueError: a key is unknown or missing; the message has the nearest known key.
    """
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # T has no bound for dataclasses
    check_keys(values, [field.name for field in fields], where)
    arguments = {}
    for name, value in values.items():
        nested = _find_dataclass(hints[name])
        if nested is not None and isinstance(value, Mapping):
            value = freeze(nested, value, f"{where}.{name}")
        if isinstance(value, str) and typing.get_origin(hints[name]) is tuple:
            value = [word.strip() for word in value.split(",") if word.strip()]
        arguments[name] = tuple(value) if isinstance(value, list) else value
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in arguments
    ]
    if required:
        raise ValueError(f"{where} lacks {', '.join(required)}")
    return cls(**arguments)


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
