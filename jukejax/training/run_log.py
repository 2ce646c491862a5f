"""metrics.jsonl: what a run measured, one JSON object a line."""

import json
import time
from pathlib import Path

from jukejax.common import files
from jukejax.runtime import distributed


class RunLog:
    """Appends rows; a resumed run first cuts off what it will redo. Only one process writes."""

    def __init__(self, path: Path, step: int):
        self._file, self._before, self._start = None, 0.0, time.monotonic()
        if not distributed.is_writer():
            return
        rows = [row for row in read(path) if row["step"] <= step]
        self._before = rows[-1]["seconds"] if rows else 0.0
        files.write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file = path.open("a")

    @property
    def seconds(self) -> float:
        """Since the run began, without the time it lay still."""
        return self._before + time.monotonic() - self._start

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        row = {"step": step, "split": split, "seconds": round(self.seconds, 3), **values}
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read(path: Path) -> list[dict]:
    """The rows of a log; a line that a killed process did not finish is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
