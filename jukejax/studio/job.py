"""Jobs of the queue: one command each, and what its progress file and its log say."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.common.formatting import format_clock
from jukejax.common.json_values import parse_number

WAITING, RUNNING, STOPPING = "waiting", "running", "stopping"
STOPPED, DONE, FAILED = "stopped", "done", "failed"
ACTIVE = (WAITING, RUNNING, STOPPING)
COPIED = 3  # exit code of `audit`: a result, not an error
_STOPPED_CODES = (130, 143, -2, -15)
_LOG_BYTES = 65536  # read from the end of a log


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Attributes:
      verb, arguments: the command.
      title: for the page.
      project: folder name of its project.
      subject: take, corpus or model that it makes or judges.
      group: first job of a chain: each waits for the one before it.
      state: one of the states above.
      message: why it failed, or what it found.
      pid: of the running command.
    """

    identifier: str
    verb: str
    arguments: tuple[str, ...]
    title: str
    project: str
    subject: str
    group: str
    state: str = WAITING
    message: str = ""
    pid: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the job as an object of jobs.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """Reads an object of jobs.json."""
        return cls(**{**values, "arguments": tuple(values["arguments"])})


@dataclass(frozen=True)
class JobProgress:
    """The progress of the current step of a job.

    Attributes:
      share: 0 to 1; None: unknown.
      text: step, amount and remaining time.
    """

    share: float | None
    text: str


def read_progress(path: Path) -> JobProgress:
    """Reads the progress file of a running job."""
    report = files.read_json_if_any(path)
    done, total = parse_number(report.get("done")), parse_number(report.get("total"))
    if done is None or not total:
        return JobProgress(None, "loading and compiling")
    remaining = parse_number(report.get("eta_seconds"))
    estimate = "" if remaining is None else f", {format_clock(remaining)} left"
    text = f"{report.get('label')} {done:g} of {total:g}{estimate}"
    return JobProgress(min(max(done / total, 0.0), 1.0), text)


def read_last_line(log: Path) -> str:
    """Returns the last line of a log that is not empty, at most 500 characters of it."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - _LOG_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def judge_exit(verb: str, code: int, log: Path, *, is_stopping: bool) -> tuple[str, str]:
    """Returns the state of a job whose command has ended, and a message.

    Args:
      is_stopping: the user has stopped it.
    """
    if code == 0 or (verb == "audit" and code == COPIED):
        return DONE, ""
    if is_stopping or code in _STOPPED_CODES:
        return STOPPED, "finished work is kept; resume continues it"
    if code < 0:
        return FAILED, f"ended by signal {-code}, perhaps for lack of memory; resume continues it"
    if code == 2:
        return FAILED, read_last_line(log).partition("error: ")[2] or read_last_line(log)
    return FAILED, f"ended with code {code}: {read_last_line(log)}"
