"""Readers of the generated tracks in a folder of `sample`, finished or not.

Missing and incomplete files are read as empty, missing figures as None. The format is that of
sampling/folder.py.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files
from jukejax.common.json_values import join_text, parse_number
from jukejax.data.codes_file import read_codes_file

LEVELS = (2, 1, 0)  # of a model without hops in its description: the coarsest first
# Wall-clock times in a generated track's meta.json; other entries depend on the command only.
MEASURED = ("timings", "seconds_per_second_of_audio", "seconds_to_first_audio")


def list_levels(description: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the levels of a model, the coarsest first, by the hops in its description."""
    hops = description.get("hops")
    return tuple(reversed(range(len(hops)))) if isinstance(hops, list) and hops else LEVELS


@dataclass(frozen=True)
class Item:
    """A generated track of a sample folder; `number` counts from 1, `name` is that on the page."""

    folder: Path
    meta: dict
    number: int
    name: str

    @property
    def levels(self) -> tuple[int, ...]:
        """Returns the levels of the model, the coarsest first."""
        return list_levels(self.meta)

    @property
    def wavs(self) -> dict[int, Path]:
        """Returns the existing WAV files by level, finest first."""
        paths = {level: self.folder / f"level_{level}.wav" for level in sorted(self.levels)}
        return {level: path for level, path in paths.items() if path.is_file()}

    @property
    def takes(self) -> list[Path]:
        """Returns the existing files of the track for other programs (sampling/takes.py)."""
        takes = self.meta.get("takes")
        takes = takes if isinstance(takes, dict) else {}
        names = [
            name
            for take in takes.values()
            if isinstance(take, dict) and isinstance(take.get("files"), list)
            for name in take["files"]
            if isinstance(name, str) and name == Path(name).name
        ]
        paths = [self.folder.parent / name for name in dict.fromkeys(names)]
        return [path for path in paths if path.is_file()]

    @property
    def seconds(self) -> float | None:
        """Returns the length of the track in seconds."""
        return parse_number(self.meta.get("seconds"))

    @property
    def labels(self) -> list[str]:
        """Returns artist, genre, tempo and key, each only if it is set."""
        grid = self.meta.get("grid")
        grid = grid if isinstance(grid, dict) else {}
        bpm = parse_number(grid.get("bpm"))
        tempo = None if bpm is None else f"{bpm:g} BPM"
        values = [self.meta.get("artist"), self.meta.get("genre"), tempo, grid.get("key")]
        return [join_text(value) for value in values if value]

    def drop_measurements(self) -> "Item":
        """Returns a copy without the wall-clock figures (`MEASURED`)."""
        meta = {name: value for name, value in self.meta.items() if name not in MEASURED}
        return dataclasses.replace(self, meta=meta)


def read_items(*folders: Path) -> list[Item]:
    """Reads the items of sample folders in order; skips those without meta.json and WAV files."""
    items: list[Item] = []
    for folder in folders:
        prefix = "" if folder == folders[0] else f"{folder.name}_"
        for path in sorted(folder.glob("item_*")):
            meta = files.read_json_if_any(path / "meta.json")
            item = Item(path, meta, len(items) + 1, prefix + path.name)
            if path.is_dir() and (item.meta or item.wavs):
                items.append(item)
    return items


def read_item_codes(items: Sequence[Item]) -> list[dict[int, np.ndarray]]:
    """Reads the codes of the items by level; skips a damaged file, with a line."""
    codes = []
    for item in items:
        path = item.folder / "codes.npz"
        if path.exists():
            try:
                codes.append(read_codes_file(path))
            except (OSError, ValueError) as error:
                print(f"warning: {error}; its codes are left out", file=sys.stderr)
    return codes
