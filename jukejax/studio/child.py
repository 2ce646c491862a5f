"""A command of jukejax as a child process, which outlives neither its job nor a new server.

A server that is killed leaves its child running. The next server ends it by SIGTERM, upon which the
command saves its state, and starts the same command again.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jukejax.common.progress import PROGRESS_FILE

GRACE_SECONDS = 75.0  # after SIGTERM; a command ends by itself after 60 s without progress


def format_command(verb: str, arguments: Sequence[str]) -> list[str]:
    """Returns the command line of a verb."""
    return [sys.executable, "-m", f"jukejax.{verb}", *arguments]


def start_child(
    verb: str, arguments: Sequence[str], *, log: Path, progress: Path
) -> subprocess.Popen[bytes]:
    """Starts a command.

    It has a session of its own: Ctrl-C in the terminal of the server does not reach it.

    Args:
      log: gets its output, after that of earlier runs.
      progress: gets its progress, see `common.progress`.
    """
    environment = os.environ | {PROGRESS_FILE: str(progress), "PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as file:
        return subprocess.Popen(
            format_command(verb, arguments),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def end_orphan(pid: int, commands: Sequence[Sequence[str]]) -> bool:
    """Ends the child of a killed server, if it still runs; returns true if it did.

    A process is taken for it if it has one of these very command lines (Linux only: elsewhere the
    lock of its output folder reports it).
    """
    if not _has_command_line(pid, commands):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while _has_command_line(pid, commands):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return True


def _has_command_line(pid: int, commands: Sequence[Sequence[str]]) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return False
    return words[1:] in [[os.fsencode(word) for word in command[1:]] for command in commands]
