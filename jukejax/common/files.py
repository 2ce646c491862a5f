"""Atomic writes of files, JSON, and folders that belong to one set of settings.

A killed process leaves the old file or the new one, never an incomplete file under its final name.
Unfinished files match `UNFINISHED`.
"""

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jukejax.common import mirrors, storage

REPOSITORY = Path(__file__).resolve().parents[2]  # root of a checkout, with configs and caches
UNFINISHED = ".*.tmp"  # glob of the temporary files of `replacing`

T = TypeVar("T")
PathLike = str | os.PathLike


def find_configs_folder() -> Path:
    """Returns the folder of the configs of a checkout, or else the installed one."""
    if (REPOSITORY / "pyproject.toml").is_file():
        return REPOSITORY / "configs"
    return REPOSITORY / "jukejax" / "configs"


def unfinished_path(path: PathLike) -> Path:
    """Returns the name under which `replacing` writes a file."""
    path = Path(path)
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def replacing(path: PathLike, *, shared: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; at the end it is synced to disk and renamed to `path`.

    In a copy of a bucket's folder it is uploaded, too. If the block raises, the temporary file is
    removed and `path` is not changed.

    Args:
      shared: several processes may write this file concurrently. A killed one may then leave its
        temporary file.
    """
    path = Path(path)
    temporary = unfinished_path(path)
    if shared:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    mirrors.publish(path)


def write_bytes(path: PathLike, data: bytes | memoryview, *, shared: bool = False) -> None:
    """Writes a file; see `replacing`."""
    with replacing(path, shared=shared) as temporary, open(temporary, "wb") as file:
        file.write(data)


def store_bytes(path: PathLike, data: bytes) -> None:
    """Writes a file, local or in a bucket, atomically; creates its parent folders."""
    if storage.is_remote(path):
        storage.store_bytes(data, os.fspath(path))
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)


def write_buffer(path: PathLike, buffer: io.BytesIO, *, shared: bool = False) -> None:
    """Writes the content of a BytesIO; see `replacing`.

    The view of the buffer is released at once, also when writing fails: in the frames of an
    exception's traceback it makes the garbage collector of CPython 3.12 crash.
    """
    with buffer.getbuffer() as view:
        write_bytes(path, view, shared=shared)


def write_text(path: PathLike, text: str) -> None:
    """Writes UTF-8 text; paths of local copies of buckets become those in the bucket."""
    write_bytes(path, mirrors.restore_names(text).encode())


def write_arrays(path: PathLike, arrays: Mapping[str, Any], *, shared: bool = False) -> None:
    """Writes an .npz file, built in memory, as `np.savez` to a file does not report a full disk."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_buffer(path, buffer, shared=shared)


def is_special(path: PathLike) -> bool:
    """Returns true for a pipe, a socket or a device, whose reader may wait for ever."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def check_regular(path: PathLike) -> None:
    """Checks that a path is no pipe, socket or device.

    A path that does not exist, or a folder, is left to the reader's own message.

    Raises:
      ValueError: it is one.
    """
    if is_special(path):
        raise ValueError(f"{path} is a pipe, a socket or a device; give a regular file")


# -- JSON --------------------------------------------------------------------------------------


def format_json(value: Any) -> str:
    """Formats JSON with indentation."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_json(path: PathLike, value: Any, *, shared: bool = False) -> None:
    """Writes a JSON file; paths of local copies of buckets become those in the bucket."""
    write_bytes(path, mirrors.restore_names(format_json(value)).encode(), shared=shared)


def read_json(path: PathLike) -> dict:
    """Reads a JSON object.

    Raises:
      ValueError: the file is missing, or holds no JSON object.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is missing")
    check_regular(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or UTF-8
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return value


def read_json_if_any(path: PathLike) -> dict:
    """Reads a JSON object; returns {} if the file is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def read_cached(path: Path, load: Callable[[Path], T], *, name: str = "") -> T | None:
    """Reads a file of a cache by `load`; returns None, with a line, if it is damaged.

    Args:
      name: of the file in the line, for the copy of a file in a bucket; "": its path.

    Returns:
      None if there is no such file, or it must be made again.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{name or path} is damaged ({error}): it is made again", file=sys.stderr)
        return None


# -- Full disks and settings -------------------------------------------------------------------


def is_disk_full(error: BaseException | None) -> bool:
    """Returns true if an error, or one that it was raised from, is that of a full disk.

    Libraries in other languages report it in words.
    """
    numbers = (errno.ENOSPC, errno.EDQUOT)
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        if any(os.strerror(number) in str(error) for number in numbers):
            return True
        error = error.__cause__ or error.__context__
    return False


def check_settings(
    path: Path, settings: Mapping, *, flag: str, prefix: str = "", may_change: Container[str] = ()
) -> None:
    """Checks that an existing folder has these settings.

    Args:
      path: JSON file in the folder with its settings.
      flag: flag that names the folder, for the message.
      prefix: prefix of the names of settings in the message.
      may_change: names of settings that may differ.

    Raises:
      ValueError: a setting differs.
    """
    if not path.exists():
        return
    stored = read_json(path)
    for name in [*settings, *(name for name in stored if name not in settings)]:
        if name not in may_change and stored.get(name) != settings.get(name):
            raise ValueError(
                f"{path.parent} was begun with {prefix}{name}={stored.get(name)}, not "
                f"{settings.get(name)}; take another {flag}, or the old value"
            )
