"""Knows when a run last made progress, and says so on the screen if that is long ago."""

import collections
import sys
import threading
import time
from typing import Any

import jax

from jukejax.common.formatting import format_clock

SILENCE_SECONDS = 600.0  # without a step that ends, after which the screen says so


class StepWatch:
    """Follows steps that are dispatched before they have run (a context manager).

    JAX returns from a step before it is computed, so the end of a step is when its results are
    ready. A thread looks at them; the main thread may be blocked meanwhile.
    """

    def __init__(self, step: int):
        """`step`: the last one that has ended, of an earlier process or 0."""
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

    def dispatched(self, step: int, result: jax.Array) -> None:
        """Notes that a step was started; `result` is any of its outputs that is not donated."""
        with self._lock:
            self._running.append((step, result))

    def progressed(self) -> None:
        """Notes progress of another kind: an evaluation's batch, a checkpoint, a preview."""
        with self._lock:
            self._last_progress = time.monotonic()

    def idle_seconds(self) -> float:
        """Returns how long ago a step ended, or other progress was made."""
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
