"""Progress lines with an estimate of the remaining time, rewritten on a terminal.

tqdm is not used: it writes carriage returns into logs, and its lines have no note beside the rate.

For other programs: with JUKEJAX_PROGRESS=FILE in the environment the last report is also written to
FILE as JSON (`label`, `done`, `total`, `eta_seconds` or null, `note`), at most twice a second.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from jukejax.common import files
from jukejax.common.formatting import format_clock, format_duration

PROGRESS_FILE = "JUKEJAX_PROGRESS"  # environment variable
_FILE_SECONDS = 0.5  # least time between two writes of that file

T = TypeVar("T")


class Progress:
    """Writes `label done/total percent eta` to stderr, at most every `every` seconds.

    On a terminal the line is rewritten in place; in a log each report is its own line.
    """

    def __init__(
        self, label: str, total: int, *, done: int = 0, every: float | None = None
    ) -> None:
        self._tty = sys.stderr.isatty()
        self._every = every if every is not None else (0.2 if self._tty else 10.0)
        self._label, self._total, self._done, self._first = label, total, done, done
        self._start = time.monotonic()
        self._last = self._steady_since = self._start
        self._width = 0
        self._file = os.environ.get(PROGRESS_FILE)
        self._filed_at = -1.0
        self._write_file("", self._start)

    def restart_estimate(self, done: int) -> None:
        """Starts the estimate of the remaining time anew, as the first units took much longer."""
        self._steady_since, self._first = time.monotonic(), done

    def update(self, done: int, note: str = "") -> None:
        """Reports that `done` of the total units are finished; `note` is appended to the line."""
        self._done = done
        now = time.monotonic()
        if now - self._filed_at >= _FILE_SECONDS or done == self._total:
            self._write_file(note, now)
        if now - self._last >= self._every or done == self._total:
            self._last = now
            self._write(note, now)

    def _estimate_remaining(self, now: float) -> float | None:
        """Returns the remaining seconds; None before the first unit is finished."""
        elapsed, advanced = now - self._steady_since, self._done - self._first
        if advanced > 0 and elapsed > 0:
            return elapsed / advanced * (self._total - self._done)
        return None

    def _write_file(self, note: str, now: float) -> None:
        if not self._file:
            return
        self._filed_at = now
        report = {
            "label": self._label,
            "done": self._done,
            "total": self._total,
            "eta_seconds": self._estimate_remaining(now),
            "note": note,
        }
        with contextlib.suppress(OSError):  # a full disk is reported by what the command writes
            files.write_json(self._file, report)

    def _write(self, note: str, now: float) -> None:
        remaining = self._estimate_remaining(now)
        estimate = "eta ?"
        if remaining is not None:
            is_long = remaining >= 86_400
            estimate = f"eta {format_duration(remaining) if is_long else format_clock(remaining)}"
        if self._done >= self._total:
            estimate = f"in {format_clock(now - self._start)}"
        percent = 100 * self._done // max(self._total, 1)
        line = f"{self._label} {self._done}/{self._total} {percent}% {estimate}"
        line += f"  {note}" if note else ""
        if self._tty:
            end = "\n" if self._done >= self._total else ""
            print(f"\r{line:<{self._width}}", end=end, file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)


def track_progress(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
    """Yields items while reporting progress."""
    progress = Progress(label, total)
    for done, item in enumerate(items, start=1):
        yield item
        progress.update(done)
