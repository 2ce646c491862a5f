"""Termination of a process by signals, even if the main thread is blocked in compiled code.

Python runs signal handlers in the main thread, between two bytecode instructions, and hence not
while a compiled program runs. A background thread therefore reads the signals
(`signal.set_wakeup_fd`): a second Ctrl-C ends the process at once, and so does SIGTERM if the main
thread makes no progress.
"""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable

GRACE_SECONDS = 60.0  # time without progress after which SIGTERM ends the process at once
EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopped(Exception):
    """Signals, in the main thread, that the process received SIGTERM."""


class SignalWatch:
    """Watches SIGINT and SIGTERM from a background thread (a context manager).

    It must be opened in the main thread. At most one is open at a time: `active_watch` returns it.

    Attributes:
      idle_seconds: returns the seconds since the last progress of the command; if None, the time
        since SIGTERM is used.
      describe: returns the last saved state in words, for the last line that is printed.
    """

    def __init__(self) -> None:
        self.idle_seconds: Callable[[], float] | None = None
        self.describe: Callable[[], str] = str
        self._interrupts = 0
        self._terminated_at: float | None = None

    def __enter__(self) -> "SignalWatch":
        global _active
        self._reader, self._writer = socket.socketpair()  # no pipe: Windows waits for sockets only
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()
        _active = self
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        _active = None
        signal.set_wakeup_fd(self._previous_fd)
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def acknowledge(self) -> None:
        """Ends the supervision after SIGTERM, as the main thread is about to end the process."""
        self._terminated_at = None

    def _run(self) -> None:
        while True:
            waits_for_progress = self._terminated_at is not None
            readable, _, _ = select.select(
                [self._reader], [], [], 0.2 if waits_for_progress else None
            )
            if readable:
                numbers = self._reader.recv(64)
                if not numbers:  # closed
                    return
                for number in numbers:
                    self._handle_signal(number)
            terminated_at = self._terminated_at
            if terminated_at is not None:
                idle = time.monotonic() - terminated_at
                if self.idle_seconds is not None:
                    idle = self.idle_seconds()
                if idle >= GRACE_SECONDS:
                    self._leave(
                        signal.SIGTERM, f"stopped by SIGTERM after {idle:.0f} s without progress"
                    )

    def _handle_signal(self, number: int) -> None:
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


def active_watch() -> SignalWatch | None:
    """Returns the open watch; None outside of the commands, such as in tests."""
    return _active
