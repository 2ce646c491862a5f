"""Locks of output folders, which name their holders, and folders of unfinished work."""

import contextlib
import io
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jukejax.common import files, locks

LOCK = "lock"


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
        if files.is_disk_full(error):
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
            locks.lock_open_file(lock)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        except BlockingIOError as error:
            holder = {"verb": verb} | files.read_json_if_any(path)
            message = f"another {holder['verb']} is writing to {output}; wait for it"
            if "pid" in holder:
                message += " (process {pid} on {host}, since {since})".format_map(holder)
            lock.close()
            raise ValueError(message) from error
        lock.close()


def clear_work(folder: Path) -> None:
    """Removes all files except the lock from the folder of `lock_output`."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()
