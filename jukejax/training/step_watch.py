"""A watch on the progress of a run, with a warning after a long time without any."""

import collections
import sys
import threading
import time
from typing import Any

import jax

from jukejax.common.formatting import format_clock

SILENCE_SECONDS = 600.0  # without progress, after which a warning is printed


class StepWatch:
    """Monitors dispatched training steps (a context manager).

    JAX returns from a step before it is computed; a step has ended when its results are ready. A
    background thread polls them, as the main thread may be blocked.
    """

    def __init__(self, step: int):
        """Starts the time of the last progress.

        Args:
          step: last step of the checkpoint that the run continues from; 0 for a new run.
        """
        self._last_step = step
        self._last_progress = time.monotonic()
        self._running: collections.deque[tuple[int, Any]] = collections.deque()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="step watch", daemon=True)

    def __enter__(self) -> "StepWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def add_step(self, step: int, result: jax.Array) -> None:
        """Adds a dispatched step; `result` is any of its outputs that is not donated."""
        with self._lock:
            self._running.append((step, result))

    def note_progress(self) -> None:
        """Records progress besides training steps: an evaluated batch, a checkpoint, a preview."""
        with self._lock:
            self._last_progress = time.monotonic()

    def idle_seconds(self) -> float:
        """Returns the seconds since a step ended or other progress was recorded."""
        with self._lock:
            while self._running and self._running[0][1].is_ready():
                self._last_step, _ = self._running.popleft()
                self._last_progress = time.monotonic()
            return time.monotonic() - self._last_progress

    def _run(self) -> None:
        warnings = 0
        while not self._closed.wait(min(1.0, SILENCE_SECONDS / 4)):
            overdue = int(self.idle_seconds() / SILENCE_SECONDS)
            if overdue > warnings:
                silence = format_clock(overdue * SILENCE_SECONDS)
                print(
                    f"\nwarning: no step has ended for {silence} (the last was "
                    f"{self._last_step}); Ctrl-C twice ends the run at once",
                    file=sys.stderr,
                    flush=True,
                )
            warnings = overdue
