"""The output folder of `sample`: a folder for each item, written window by window.

OUTPUT/settings.json                     settings that the tracks depend on
OUTPUT/item_000/codes.npz                level_2, level_1, level_0: uint16 [time] so far
OUTPUT/item_000/level_2.wav ...          each finished level, decoded
OUTPUT/item_000/meta.json                labels, settings, gain, and measurements
OUTPUT/item_000/stream.wav               with --stream: the sound so far, at its finest level
OUTPUT/index.html                        players and pictures
OUTPUT/take_000_124bpm_Am_seed0.flac     with --format: the finished track; see `takes`

While a level is sampled, item_000/level_K.parts.npz has its state: the codes so far, and sampled
windows that are not joined yet. Every file is replaced atomically. A killed and resumed run ends
with the folder of an uninterrupted run, byte for byte, except for the times in meta.json
(`data.sample_items.MEASURED`).

Dimensions: B items, R rows (items, or their candidates), t codes of a level.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jukejax.common import files, output_locks
from jukejax.common.arrays import read_arrays
from jukejax.common.config import freeze
from jukejax.data import audio
from jukejax.data.codes_file import read_codes_file
from jukejax.data.grid import Grid
from jukejax.inference.batches import SampledWindows
from jukejax.sampling.source import NAMED_LABELS, SourceTrack

Codes = dict[int, np.ndarray]


def read_label_names(codes_path: str | Path) -> dict[str, str]:
    """Reads the artist, genre and lyrics of a sample from the meta.json beside its codes.npz."""
    path = Path(codes_path).with_name("meta.json")
    meta = files.read_json(path) if path.exists() else {}
    return {name: meta[name] for name in NAMED_LABELS if meta.get(name)}


def read_grid(codes_path: str | Path) -> Grid:
    """Reads the tempo, the first downbeat and the key of a sample beside its codes.npz."""
    return parse_grid(files.read_json_if_any(Path(codes_path).with_name("meta.json")))


def parse_grid(meta: Mapping[str, Any]) -> Grid:
    """Returns the tempo, the first downbeat and the key in a meta.json."""
    values = meta.get("grid")
    return freeze(Grid, values, "meta.json.grid") if isinstance(values, dict) else Grid()


def read_codec_identity(codes_path: str | Path) -> dict[str, str]:
    """Reads the identity of the VQ-VAE of a sample beside its codes.npz; {} if it is unknown."""
    identity = files.read_json_if_any(Path(codes_path).with_name("meta.json")).get("vqvae")
    return identity if isinstance(identity, dict) else {}


def read_source_track(source: str | SourceTrack) -> SourceTrack:
    """Reads a codes.npz of a sample and the meta.json beside it; returns a track in memory as is.

    Raises:
      ValueError: the file cannot be read.
    """
    if isinstance(source, SourceTrack):
        return source
    return SourceTrack(
        codes=read_codes_file(source),
        grid=read_grid(source),
        names=read_label_names(source),
        vqvae=read_codec_identity(source),
    )


def lock_folder(output: Path) -> AbstractContextManager[None]:
    """Creates `output` and locks it against a second process.

    Raises:
      ValueError: another process writes to it, or the disk is full in the `with` block.
    """
    return output_locks.lock_file(output / ".lock", output, "sample")


def claim_folder(output: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a new output folder, or compares those of an existing one.

    Raises:
      ValueError: the existing settings differ.
    """
    path = output / "settings.json"
    files.check_settings(path, settings, flag="--output")
    files.write_json(path, settings)


def remove_unfinished_files(output: Path) -> None:
    """Removes the unfinished files of a killed run from a folder, but not from its items'."""
    paths = [output / name for name in ("settings.json", "index.html")]
    unfinished = [files.unfinished_path(path) for path in paths]
    for path in [*unfinished, *output.glob(".take_*.tmp")]:
        path.unlink(missing_ok=True)


class LevelState(NamedTuple):
    """The state of an unfinished level.

    Attributes:
      codes: int32 [R, t].
      target: number of codes at the end of the current step.
      pending: sampled windows that are not in `codes`, by (row, index of the window).
    """

    codes: np.ndarray
    target: int
    pending: SampledWindows


class SampleFolder:
    """Reads and writes the items of an output folder.

    Attributes:
      numbers: of the items.
      items: their folders.
      rows: their indices in a batch.
    """

    def __init__(self, output: Path, numbers: Sequence[int]):
        self.output, self.numbers = output, list(numbers)
        self.items = [output / f"item_{number:03d}" for number in numbers]
        self.rows = range(len(self.items))
        for item in self.items:
            item.mkdir(exist_ok=True)

    def load_codes(self) -> Codes:
        """Reads the codes that all items have, {level: int32 [B, t]}."""
        items = [
            read_codes_file(item / "codes.npz") if (item / "codes.npz").exists() else {}
            for item in self.items
        ]
        levels = set.intersection(*(set(codes) for codes in items))
        shortest = {level: min(len(codes[level]) for codes in items) for level in levels}
        return {
            level: np.stack([codes[level][: shortest[level]] for codes in items])
            for level in levels
        }

    def save_codes(self, codes: Codes) -> None:
        """Writes each item's codes, {level: [B, t]}."""
        for row, item in enumerate(self.items):
            arrays = {f"level_{k}": v[row].astype(np.uint16) for k, v in sorted(codes.items())}
            files.write_arrays(item / "codes.npz", arrays)

    def load_state(self, stage: str) -> LevelState | None:
        """Reads the state of an unfinished stage, such as "level_2".

        None if there is none, or its files are damaged. Items are written in turn: codes that only
        some of them have are sampled again.
        """
        try:
            items = [self._load_item_state(item, stage) for item in self.items]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            print(
                f"the state of {stage.replace('_', ' ')} in {self.output} is damaged ({error}): "
                "its codes are sampled again",
                file=sys.stderr,
            )
            return None
        shortest = min(state.codes.shape[1] for state in items)
        target = min(state.target for state in items)
        pending: SampledWindows = {}
        for index, state in enumerate(items):
            if (state.codes.shape[1], state.target) == (shortest, target):
                first = index * len(state.codes)
                pending |= {(first + row, n): codes for (row, n), codes in state.pending.items()}
        codes = np.concatenate([state.codes[:, :shortest] for state in items])
        return LevelState(codes, target, pending)

    def _load_item_state(self, item: Path, stage: str) -> LevelState:
        arrays, pending = read_arrays(item / f"{stage}.parts.npz"), {}
        for name, codes in arrays.items():
            if name.startswith("window_"):
                row, number = map(int, name.removeprefix("window_").split("_"))
                pending[row, number] = codes.astype(np.int32)
        return LevelState(arrays["codes"].astype(np.int32), int(arrays["target"]), pending)

    def save_state(self, stage: str, state: LevelState) -> None:
        """Writes the state of an unfinished stage; the rows of an item are adjacent."""
        rows_per_item = len(state.codes) // len(self.items)
        for index, item in enumerate(self.items):
            rows = range(index * rows_per_item, (index + 1) * rows_per_item)
            arrays: dict[str, Any] = {
                f"window_{row - rows.start}_{number}": codes.astype(np.uint16)
                for (row, number), codes in sorted(state.pending.items())
                if row in rows
            }
            codes = state.codes[rows.start : rows.stop].astype(np.uint16)
            arrays |= {"codes": codes, "target": np.int64(state.target)}
            files.write_arrays(item / f"{stage}.parts.npz", arrays)

    def remove_state(self, stage: str) -> None:
        """Removes the state of a finished stage."""
        for item in self.items:
            (item / f"{stage}.parts.npz").unlink(missing_ok=True)

    def remove_unfinished_files(self) -> None:
        """Removes the unfinished files of a killed run from the folders of the items."""
        for folder in self.items:
            for path in folder.glob(files.UNFINISHED):
                path.unlink(missing_ok=True)

    def read_meta(self, row: int) -> dict[str, Any]:
        """Reads the meta.json of an item; {} if there is none yet."""
        path = self.items[row] / "meta.json"
        return files.read_json(path) if path.exists() else {}

    def update_meta(self, row: int, **values: Any) -> None:
        """Adds values to the meta.json of an item."""
        files.write_json(self.items[row] / "meta.json", self.read_meta(row) | values)

    def read_seconds(self, level: int) -> float:
        """Returns the time of earlier runs for a level, for all items together."""
        timings = [self.read_meta(row).get("timings", {}) for row in self.rows]
        return max(timing.get(f"level_{level}", 0.0) for timing in timings)

    def write_seconds(self, level: int, seconds: float) -> None:
        """Writes the time for a level so far, for all items together."""
        for row in self.rows:
            timings = self.read_meta(row).get("timings", {}) | {f"level_{level}": round(seconds, 3)}
            self.update_meta(row, timings=timings)

    def has_audio(self, level: int) -> bool:
        """Returns true if every item has this level's WAV, and its gain in meta.json."""
        return all(
            (item / f"level_{level}.wav").exists()
            and f"level_{level}" in self.read_meta(row).get("gain", {})
            for row, item in enumerate(self.items)
        )

    def write_audio(self, row: int, level: int, sound: np.ndarray, sample_rate: int) -> None:
        """Writes one level's WAV, and then its gain and cost to meta.json."""
        gain = audio.write_wav(self.items[row] / f"level_{level}.wav", sound, sample_rate)
        meta = self.read_meta(row)
        gains = meta.get("gain", {}) | {f"level_{level}": gain}
        seconds = sum(meta.get("timings", {}).values())
        cost = round(seconds / (len(sound) / sample_rate) / len(self.items), 3)
        self.update_meta(row, gain=gains, seconds_per_second_of_audio=cost)


class LevelTimer:
    """Measures the time for a level, over all runs that sampled it."""

    def __init__(self, folder: SampleFolder, level: int):
        """Starts from the time of earlier runs."""
        self._folder, self._level = folder, level
        self._seconds_before, self._started_at = folder.read_seconds(level), time.monotonic()

    def write(self) -> None:
        """Writes the time so far to meta.json."""
        seconds = self._seconds_before + time.monotonic() - self._started_at
        self._folder.write_seconds(self._level, seconds)
