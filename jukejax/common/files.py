"""The folder in which the maker of a dataset keeps finished parts, so that a killed run goes on.

It is `.work` inside the output; only one process at a time holds it.
"""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"


@contextlib.contextmanager
def held(output: Path, verb: str) -> Iterator[Path]:
    """Makes `output` and its work folder, which it gives, and holds them against a second `verb`.

    Raises:
      ValueError: another process holds it, or the disk is full.
    """
    folder = output / ".work"
    with locked(folder / LOCK, output, verb):
        yield folder


@contextlib.contextmanager
def locked(path: Path, output: Path, verb: str) -> Iterator[None]:
    """Holds the lock at `path`, in or below `output`, against a second `verb`.

    Raises:
      ValueError: another process holds it, or, at any time inside, the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(f"another {verb} is writing to {output}; wait for it") from error
            yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(
                f"the disk of {output} is full; make room and run again: what is done is kept"
            ) from error
        raise


def clear(folder: Path) -> None:
    """Removes everything from a work folder but the lock."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()
