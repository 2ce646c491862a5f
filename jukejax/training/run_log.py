"""The log of a run, metrics.jsonl: one JSON object a line."""

import json
import time
from pathlib import Path

from jukejax.common import files
from jukejax.runtime import distributed


class RunLog:
    """Appends rows of metrics to a file, in one process of the run only."""

    def __init__(self, path: Path, step: int):
        """Opens the log, and removes the rows of the steps that will be repeated.

        Args:
          step: last step of the checkpoint that the run continues from; 0 for a new run.
        """
        self._file, self._seconds_before, self._started_at = None, 0.0, time.monotonic()
        if not distributed.is_writer():
            return
        rows = [row for row in read_metrics(path) if row["step"] <= step]
        self._seconds_before = rows[-1]["seconds"] if rows else 0.0
        files.write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file = path.open("a")

    @property
    def seconds(self) -> float:
        """Seconds since the run began, without the time between a stop and the next start."""
        return self._seconds_before + time.monotonic() - self._started_at

    def append_row(self, step: int, split: str, values: dict[str, float]) -> None:
        """Appends a row and flushes the file."""
        row = {"step": step, "split": split, "seconds": round(self.seconds, 3), **values}
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def read_metrics(path: Path) -> list[dict]:
    """Reads the rows of a log; skips lines that a killed process left incomplete."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
