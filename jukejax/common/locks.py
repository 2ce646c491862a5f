"""Exclusive locks of open files, on any system, which releases them at the end of a process."""

import contextlib
import io
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _BYTE = 1 << 30  # the locked byte: other processes cannot read it, but what is written before

    def lock_open_file(file: io.FileIO) -> None:
        """Locks an open file.

        Raises:
          BlockingIOError: another process holds the lock.
        """
        file.seek(_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error

    def remove_file(file: io.FileIO, path: Path) -> None:
        """Removes a locked file, and releases the lock."""
        file.close()  # an open file cannot be removed
        with contextlib.suppress(OSError):  # another process has just opened it
            path.unlink()

else:
    import fcntl

    def lock_open_file(file: io.FileIO) -> None:
        """Locks an open file.

        Raises:
          BlockingIOError: another process holds the lock.
        """
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove_file(file: io.FileIO, path: Path) -> None:
        """Removes a locked file, and releases the lock."""
        with file:
            path.unlink(missing_ok=True)
