"""Changes of JSON files, for tests of their checks."""

from collections.abc import Sequence
from typing import Any


def change_field(content: dict, path: Sequence[str | int], value: Any) -> dict:
    """Sets a field of nested JSON to `value`, or removes it if that is None; returns `content`."""
    *parents, last = path
    node: Any = content
    for name in parents:
        node = node[name]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return content
