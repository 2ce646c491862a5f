"""A sound of any length in a temporary file, so that memory does not grow with its length."""

import os
import tempfile
from pathlib import Path

import numpy as np

from jukejax.data.repair import Repair, SoundStatistics


class Spool:
    """A sound that is appended to and read in sections like an array [time, channels].

    The file has no name: it is gone when the process ends, also by a kill, or closed.

    Attributes:
      statistics: of what was appended.
      repair: applied to what is read.
      notes: on the sound, for the user.
    """

    def __init__(self, folder: str | Path, channels: int):
        """Makes an empty sound in a file on the disk of `folder`."""
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._channels, self._samples = channels, 0
        self.statistics = SoundStatistics(channels)
        self.repair = Repair()
        self.notes: list[str] = []

    def append(self, block: np.ndarray) -> None:
        """Appends a block, float32 [time, channels]."""
        data = np.ascontiguousarray(block, np.float32).data.cast("B")
        self._file.seek(0, os.SEEK_END)
        while data:
            data = data[self._file.write(data) :]
        self._samples += len(block)
        self.statistics.add(block)

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (time, channels) of what is read."""
        return self._samples, self.repair.channels(self._channels)

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, section: slice) -> np.ndarray:
        """Reads and repairs a section, float32 [time, channels]."""
        start, stop, step = section.indices(self._samples)
        if step != 1:
            raise ValueError(f"a spooled sound is read in steps of 1, not {step}")
        count = max(0, stop - start) * self._channels
        self._file.seek(4 * start * self._channels)
        block = np.fromfile(self._file, np.float32, count).reshape(-1, self._channels)
        return block if self.repair.is_identity else self.repair(block)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
