"""Atomic writes of files, JSON, locks, and folders that belong to one set of settings.

A killed process leaves the old file or the new one, never an incomplete file under its final name.
Unfinished files match `UNFINISHED`.
"""

import contextlib
import errno
import io
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jukejax.common import locks, mirrors, storage

REPOSITORY = Path(__file__).resolve().parents[2]  # root of a checkout, with configs and caches
LOCK = "lock"
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


# -- Locks and settings ------------------------------------------------------------------------


@contextlib.contextmanager
def lock_output(output: Path, verb: str) -> Iterator[Path]:
    """Locks an output folder against a second process, and yields its folder of unfinished work.

    Args:
      verb: name of the command, for the message.

    Raises:
      ValueError: another process holds the lock, or the disk is full.
    """
    folder = output / ".work"
    with lock_file(folder / LOCK, output, verb):
        yield folder


@contextlib.contextmanager
def lock_file(path: Path, output: Path, verb: str) -> Iterator[None]:
    """Locks `path`, in or below `output`, against a second process.

    The file has the holder's verb, process, host and start. At the end it is removed, with the
    folders that were made for it if they are empty.

    Args:
      verb: name of the command.

    Raises:
      ValueError: another process holds the lock, or the disk is full in the `with` block.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire_lock(path, output, verb)
        try:
            lock.truncate(0)
            lock.write(json.dumps(_describe_holder(verb)).encode())
            yield
        finally:
            locks.remove_file(lock, path)
    except Exception as error:
        if is_disk_full(error):
            raise ValueError(
                f"the disk of {output} is full; make room and run again: finished work is kept"
            ) from error
        raise
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _describe_holder(verb: str) -> dict[str, Any]:
    started_at = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"verb": verb, "pid": os.getpid(), "host": socket.gethostname(), "since": started_at}


def _acquire_lock(path: Path, output: Path, verb: str) -> io.FileIO:
    """Opens and locks a file, which its holder may remove meanwhile."""
    while True:
        lock = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by the caller
        try:
            locks.lock_file(lock)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        except BlockingIOError as error:
            holder = {"verb": verb} | read_json_if_any(path)
            message = f"another {holder['verb']} is writing to {output}; wait for it"
            if "pid" in holder:
                message += " (process {pid} on {host}, since {since})".format_map(holder)
            lock.close()
            raise ValueError(message) from error
        lock.close()


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


def clear_work(folder: Path) -> None:
    """Removes all files except the lock from the folder of `lock_output`."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()


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
