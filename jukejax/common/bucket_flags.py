"""Paths of buckets in the flags of a command, which works with local copies (`mirrors`)."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from absl import flags

from jukejax.common import mirrors, storage

OUTPUTS = ("output", "cache")  # flags that name what a command writes; all others are read
LOCAL = ("projects",)  # what is changed for days
_PATTERN = re.compile(r"[*?\[]")


@contextlib.contextmanager
def open_buckets(values: flags.FlagValues) -> Iterator[None]:
    """Replaces the paths of buckets in the values of flags by those of their copies.

    Outputs are stored in their buckets at the end of the block, as far as they were not before.

    Raises:
      ValueError: a bucket cannot be reached, or a flag takes none.
    """
    with contextlib.ExitStack() as stack:
        for name in values:
            path: Any = values[name].value
            is_remote = isinstance(path, str) and storage.is_remote(path)
            if name in LOCAL and is_remote:
                raise ValueError(f"--{name}={path} must be a local folder")
            if name in OUTPUTS and is_remote:
                storage.check_reachable(path, name)
                values[name].value = os.fspath(stack.enter_context(mirrors.open_output(path)))
            elif name not in OUTPUTS:
                values[name].value = _open_inputs(path)
        yield


def open_source(path: str) -> str:
    """Returns a local path, or that of the copy of a file, a folder or a pattern of a bucket."""
    if not storage.names_bucket(path):
        return path
    match = _PATTERN.search(path)
    if match is None:
        return os.fspath(mirrors.open_input(path))
    folder, _, _ = path[: match.start()].rpartition("/")
    return os.fspath(mirrors.open_input(folder)) + path[len(folder) :]


def _open_inputs(value: Any) -> Any:
    if isinstance(value, str):
        return open_source(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [open_source(item) for item in value]
    return value
