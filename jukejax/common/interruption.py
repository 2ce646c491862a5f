"""Ends a process that a signal asked to stop, also where the main thread is stuck in compiled code.

Python runs signal handlers in the main thread, between two of its own instructions. A main thread
that waits for a compiled program never gets there if that program never returns. A thread of this
module therefore reads the signals themselves (`signal.set_wakeup_fd`): a second Ctrl-C ends the
process at once, and so does SIGTERM if the main thread makes no progress.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable

GRACE_SECONDS = 60.0  # without progress, after which SIGTERM ends the process at once
EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopped(Exception):
    """Raised in the main thread when SIGTERM asks a command to stop."""


class SignalWatch:
    """Watches SIGINT and SIGTERM from a thread of its own while it is open (a context manager).

    To be opened in the main thread. Only one is open at a time: `active` returns it.

    Attributes:
      idle_seconds: returns for how long the command has made no progress; None where it does not
        say, and then the time since SIGTERM counts.
      describe: returns what was last saved, for the line that the process leaves behind.
    """

    def __init__(self) -> None:
        self.idle_seconds: Callable[[], float] | None = None
        self.describe: Callable[[], str] = str
        self._interrupts = 0
        self._terminated_at: float | None = None

    def __enter__(self) -> "SignalWatch":
        global _active
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()
        _active = self
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        _active = None
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def acknowledge(self) -> None:
        """Notes that the main thread has got SIGTERM and is about to end by itself."""
        self._terminated_at = None

    def _run(self) -> None:
        while True:
            waits_for_progress = self._terminated_at is not None
            readable, _, _ = select.select(
                [self._reader], [], [], 0.2 if waits_for_progress else None
            )
            if readable:
                numbers = os.read(self._reader, 64)
                if not numbers:  # closed
                    return
                for number in numbers:
                    self._note(number)
            terminated_at = self._terminated_at
            if terminated_at is not None:
                idle = time.monotonic() - terminated_at
                if self.idle_seconds is not None:
                    idle = self.idle_seconds()
                if idle >= GRACE_SECONDS:
                    self._leave(
                        signal.SIGTERM, f"stopped by SIGTERM after {idle:.0f} s without progress"
                    )

    def _note(self, number: int) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                self._leave(signal.SIGINT, "interrupted twice, stopped at once")
        elif number == signal.SIGTERM:
            self._terminated_at = time.monotonic()

    def _leave(self, number: int, reason: str) -> None:
        line = "; ".join(filter(None, [reason, self.describe()]))
        os.write(2, f"\n{line}\n".encode())
        os._exit(EXIT_CODES[number])


_active: SignalWatch | None = None


def active() -> SignalWatch | None:
    """Returns the open watch: None in tests and in programs that are not our commands."""
    return _active
