"""The folder of `sample`: an item a folder, written window by window so that a kill loses little.

OUTPUT/settings.json                     what the tracks depend on
OUTPUT/item_000/codes.npz                level_2, level_1, level_0: uint16 [time] so far
OUTPUT/item_000/level_2.wav ...          each finished level, decoded
OUTPUT/item_000/meta.json                labels, settings, gain; and what was measured
OUTPUT/item_000/stream.wav               with --stream: the sound as far and as fine as it is there
OUTPUT/index.html                        players and pictures

While a level is made, item_000/level_K.parts.npz holds what it takes to go on: the codes so far and
windows that are drawn but not joined yet. Every file appears whole or not at all. A run that was
killed at any moment, and given again, ends with the folder of a run that was not, byte for byte:
only the times in meta.json (`pages.runs.MEASURED`) are those of the clock.

Dimensions: B items, R rows (items, each with all its candidates), t codes of a level.
"""

import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jukejax.common import files
from jukejax.data import audio

Codes = dict[int, np.ndarray]
Parts = dict[tuple[int, int], np.ndarray]

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def read_codes(path: str | Path) -> Codes:
    """{level: int32 [t]} of a codes.npz.

    Raises:
      ValueError: the file is missing or no codes.npz.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError(
                "it is no .npz file" if Path(path).exists() else "there is no such file"
            )
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {int(name.removeprefix("level_")): file[name] for name in file.files}
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as the codes.npz of a sample: {error}") from error
    for level, codes in found.items():
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise ValueError(
                f"{path} cannot be read as the codes.npz of a sample: its level {level} is "
                f"{codes.dtype} {list(codes.shape)}, not whole numbers one after the other"
            )
    return {level: codes.astype(np.int32) for level, codes in found.items()}


def read_told(codes: str | Path) -> dict[str, str]:
    """The artist, genre and lyrics that a sample's codes.npz was made with, as far as any were, by
    the meta.json beside it."""
    path = Path(codes).with_name("meta.json")
    meta = files.read_json(path) if path.exists() else {}
    return {name: meta[name] for name in ("artist", "genre", "lyrics") if meta.get(name)}


def held(output: Path) -> AbstractContextManager[None]:
    """Makes `output` and holds it against a second process.

    Raises:
      ValueError: another process writes to it, or, at any time inside, the disk is full.
    """
    return files.lock_file(output / ".lock", output, "sample")


def claim(output: Path, settings: dict) -> None:
    """Begins a sample folder, or goes on with one that was begun with the same settings.

    Raises:
      ValueError: the folder was begun with others.
    """
    path = output / "settings.json"
    files.check_settings(path, settings, flag="--output")
    files.write_json(path, settings)


class State(NamedTuple):
    """What is there of a level that is being made.

    Attributes:
      codes: int32 [R, t].
      target: codes that the windows now being drawn lead to.
      parts: windows drawn beyond `codes`, {(row, number of the window): int32 [codes]}.
    """

    codes: np.ndarray
    target: int
    parts: Parts


class SampleFolder:
    """The items of one sample folder.

    Attributes:
      items: their folders.
      rows: their places in a batch.
    """

    def __init__(self, output: Path, numbers: Sequence[int]):
        self.output = output
        self.items = [output / f"item_{number:03d}" for number in numbers]
        self.rows = range(len(self.items))
        for item in self.items:
            item.mkdir(exist_ok=True)

    def load(self) -> Codes:
        """{level: int32 [B, t]}: what every item has already."""
        found = [
            read_codes(item / "codes.npz") if (item / "codes.npz").exists() else {}
            for item in self.items
        ]
        levels = set.intersection(*(set(codes) for codes in found))
        shortest = {level: min(len(codes[level]) for codes in found) for level in levels}
        return {
            level: np.stack([codes[level][: shortest[level]] for codes in found])
            for level in levels
        }

    def save(self, codes: Codes) -> None:
        """Writes each item's codes {level: [B, t]}."""
        for row, item in enumerate(self.items):
            arrays = {f"level_{k}": v[row].astype(np.uint16) for k, v in sorted(codes.items())}
            files.write_arrays(item / "codes.npz", arrays)

    def load_state(self, level: int) -> State | None:
        """Where an unfinished level stands; None if it was not begun, or its files are damaged.

        Items are written one after the other: of those that are ahead the rest is drawn again.
        """
        try:
            found = [self._load_item_state(item, level) for item in self.items]
        except _UNREADABLE:
            return None
        shortest = min(state.codes.shape[1] for state in found)
        target = min(state.target for state in found)
        parts: Parts = {}
        for place, state in enumerate(found):
            if (state.codes.shape[1], state.target) == (shortest, target):
                first = place * len(state.codes)
                parts |= {(first + row, n): value for (row, n), value in state.parts.items()}
        return State(np.concatenate([s.codes[:, :shortest] for s in found]), target, parts)

    def _load_item_state(self, item: Path, level: int) -> State:
        path, parts = item / f"level_{level}.parts.npz", {}
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            for name in file.files:
                if name.startswith("window_"):
                    row, number = map(int, name.removeprefix("window_").split("_"))
                    parts[row, number] = file[name].astype(np.int32)
            return State(file["codes"].astype(np.int32), int(file["target"]), parts)

    def save_state(self, level: int, state: State) -> None:
        """Writes where an unfinished level stands; the rows of an item follow each other."""
        each = len(state.codes) // len(self.items)
        for place, item in enumerate(self.items):
            rows = range(place * each, (place + 1) * each)
            arrays = {
                f"window_{row - rows.start}_{number}": value.astype(np.uint16)
                for (row, number), value in sorted(state.parts.items())
                if row in rows
            }
            codes = state.codes[rows.start : rows.stop].astype(np.uint16)
            arrays |= {"codes": codes, "target": np.int64(state.target)}
            files.write_arrays(item / f"level_{level}.parts.npz", arrays)

    def finish_level(self, level: int) -> None:
        """Removes what was needed to go on with a level."""
        for item in self.items:
            (item / f"level_{level}.parts.npz").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes what a killed run left behind of files that it was writing."""
        ours = [self.output / name for name in ("settings.json", "index.html")]
        left = [files.unfinished_path(path) for path in ours]
        for folder in self.items:
            left += folder.glob(files.UNFINISHED)
        for path in left:
            path.unlink(missing_ok=True)

    def meta(self, row: int) -> dict:
        """What is known of an item so far."""
        path = self.items[row] / "meta.json"
        return files.read_json(path) if path.exists() else {}

    def write_meta(self, row: int, **values) -> None:
        """Adds to what is known of an item."""
        files.write_json(self.items[row] / "meta.json", self.meta(row) | values)

    def seconds_spent(self, level: int) -> float:
        """What a level has cost in earlier runs, all items together."""
        timings = [self.meta(row).get("timings", {}) for row in self.rows]
        return max(timing.get(f"level_{level}", 0.0) for timing in timings)

    def note_time(self, level: int, seconds: float) -> None:
        """Writes what a level has cost so far, all items together."""
        for row in self.rows:
            timings = self.meta(row).get("timings", {}) | {f"level_{level}": round(seconds, 3)}
            self.write_meta(row, timings=timings)

    def has_audio(self, level: int) -> bool:
        """Whether every item has this level's WAV, and meta.json its gain."""
        return all(
            (item / f"level_{level}.wav").exists()
            and f"level_{level}" in self.meta(row).get("gain", {})
            for row, item in enumerate(self.items)
        )

    def write_audio(self, row: int, level: int, sound: np.ndarray, sample_rate: int) -> None:
        """Writes one level's WAV, and then to meta.json what this shows."""
        gain = audio.write_wav(self.items[row] / f"level_{level}.wav", sound, sample_rate)
        meta = self.meta(row)
        gains = meta.get("gain", {}) | {f"level_{level}": gain}
        made = sum(meta.get("timings", {}).values())
        cost = round(made / (len(sound) / sample_rate) / len(self.items), 3)
        self.write_meta(row, gain=gains, seconds_per_second_of_audio=cost)
