"""From a config file's free dictionary to a frozen dataclass, once, at the border."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass in `X` or `X | None`."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def freeze(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Builds `cls` from `values`; lists, and for a field that is a tuple text with commas, become
    tuples, nested mappings nested dataclasses.

    Raises:
      ValueError: an unknown or missing key, named together with its nearest known one.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    known = {}
    check_keys(values, names, where)
    for name, value in values.items():
        nested = _dataclass_in(hints[name])
        if nested is not None and isinstance(value, Mapping):
            value = freeze(nested, value, f"{where}.{name}")
        if isinstance(value, str) and typing.get_origin(hints[name]) is tuple:
            value = [part.strip() for part in value.split(",") if part.strip()]
        known[name] = tuple(value) if isinstance(value, list) else value
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in known
    ]
    if required:
        raise ValueError(f"{where} lacks {', '.join(required)}")
    return cls(**known)


def check_keys(values: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raises ValueError for a key that means nothing, with its nearest known one."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"unknown key {where}.{name}{hint}")


def plain(value: Any) -> Any:
    """A dataclass (nested too) as dictionaries and lists that JSON can hold."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
