"""What the folders of a run say: read forgivingly, because a page must also show half of a run.

A file that is missing or half written reads as empty, a figure that is missing as None. The formats
are those of their writers: data/corpus.py, prepare.py, train.py, sample.py.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jukejax.common import files

LEVELS = (2, 1, 0)  # the order in which music is made: the coarse plan first
# What the clock says in a generated track's meta.json; all else there depends on the command alone.
MEASURED = ("timings", "seconds_per_second_of_audio", "seconds_to_first_audio")


def figure(value: object) -> float | None:
    """`value` if it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


@dataclass(frozen=True)
class Run:
    """One training run: the lines of metrics.jsonl and the content of summary.json."""

    folder: Path
    lines: tuple[dict, ...]
    summary: dict

    @classmethod
    def read(cls, folder: Path) -> "Run":
        lines = []
        try:
            text = (folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            if isinstance(entry, dict) and figure(entry.get("step")) is not None:
                lines.append(entry)
        return cls(folder, tuple(lines), files.read_json_if_any(folder / "summary.json"))

    def series(self, key: str, split: str) -> tuple[list[float], list[float]]:
        """Steps and values of one metric."""
        points = [
            (entry["step"], figure(entry.get(key)))
            for entry in self.lines
            if entry.get("split") == split
        ]
        points = [(step, value) for step, value in points if value is not None]
        return [step for step, _ in points], [value for _, value in points]

    def heldout(self, key: str) -> float | None:
        """The last held-out figure: of the summary, else of the metrics."""
        summary = self.summary.get("heldout")
        value = figure(summary.get(key)) if isinstance(summary, dict) else None
        if value is None:
            _, values = self.series(key, "heldout")
            value = values[-1] if values else None
        return value

    @property
    def seconds(self) -> float | None:
        """How long it trained."""
        value = figure(self.summary.get("seconds"))
        if value is None and self.lines:
            value = figure(self.lines[-1].get("seconds"))
        return value

    @property
    def steps(self) -> int | None:
        """How many steps it made."""
        value = figure(self.summary.get("steps"))
        if value is None and self.lines:
            value = figure(self.lines[-1]["step"])
        return None if value is None else int(value)


@dataclass(frozen=True)
class Item:
    """One generated track of a sample folder."""

    folder: Path
    meta: dict
    number: int

    @property
    def wavs(self) -> dict[int, Path]:
        """The WAV of each level that is there, finest first."""
        paths = {level: self.folder / f"level_{level}.wav" for level in sorted(LEVELS)}
        return {level: path for level, path in paths.items() if path.is_file()}

    @property
    def seconds(self) -> float | None:
        """The length of the track."""
        return figure(self.meta.get("seconds"))

    @property
    def labels(self) -> list[str]:
        """Artist and genre, as far as they are known."""
        values = [self.meta.get("artist"), self.meta.get("genre")]
        return [words(value) for value in values if value]


def words(value: object) -> str:
    """A label, or several, as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def read_items(folder: Path) -> list[Item]:
    """The items of a sample folder in order; those of which nothing is written yet are left out."""
    items = []
    for path in sorted(folder.glob("item_*")):
        item = Item(path, files.read_json_if_any(path / "meta.json"), len(items) + 1)
        if path.is_dir() and (item.meta or item.wavs):
            items.append(item)
    return items


def without_times(item: Item) -> Item:
    """An item without what was measured while it was made."""
    meta = {name: value for name, value in item.meta.items() if name not in MEASURED}
    return dataclasses.replace(item, meta=meta)


@dataclass(frozen=True)
class Corpus:
    """The tracks of a data set folder, by split."""

    splits: dict[str, list[dict]]
    sample_rate: int
    separator: str
    fates: dict = field(repr=False)

    @classmethod
    def read(cls, folder: Path | None) -> "Corpus":
        described = files.read_json_if_any(folder / "dataset.json") if folder else {}
        splits = described.get("splits")
        splits = splits if isinstance(splits, dict) else {}
        tracks = {
            name: [track for track in split.get("tracks") or [] if isinstance(track, dict)]
            for name, split in splits.items()
            if isinstance(split, dict)
        }
        return cls(
            tracks,
            int(figure(described.get("sample_rate")) or 44_100),
            words(described.get("separator")),
            files.read_json_if_any(folder / "corpus.json") if folder else {},
        )

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    @property
    def seconds(self) -> float:
        """How much music there is."""
        tracks = [track for split in self.splits.values() for track in split]
        return sum(figure(track.get("samples")) or 0 for track in tracks) / self.sample_rate

    @property
    def separation(self) -> dict[str, tuple[float | None, float | None]]:
        """SI-SDR of each track's instrumental before and after voices were taken out, in dB."""
        found = {}
        for entry in self._entries:
            measured = entry.get("instrumental_si_sdr")
            if isinstance(measured, dict):
                pair = figure(measured.get("before")), figure(measured.get("after"))
                found[words(entry.get("file"))] = pair
        return found

    @property
    def refused(self) -> list[tuple[str, str]]:
        """Files that were not used, and why."""
        return [
            (words(entry.get("file")), words(entry["reason"]))
            for entry in self._entries
            if entry.get("reason")
        ]

    @property
    def _entries(self) -> list[dict]:
        files = self.fates.get("files")
        return [entry for entry in files if isinstance(entry, dict)] if files else []

    @property
    def genres(self) -> list[str]:
        """The genres that occur, in alphabetical order."""
        found = set()
        for split in self.splits.values():
            for track in split:
                genre = track.get("genre") or []
                found.update(genre if isinstance(genre, list) else [words(genre)])
        return sorted(map(str, found))


def count_codes(
    folder: Path, codebook_size: int, *, max_hours: float = 2.0
) -> tuple[dict[int, np.ndarray], float]:
    """Counts the codes of a code data set.

    Reads whole tracks, those kept for testing first, until `max_hours` are counted: by then the
    picture no longer changes. Returns counts [codebook_size] by level, and the seconds counted.
    """
    from jukejax.data import corpus, records

    dataset = corpus.open_dataset(folder)
    counts = {level: np.zeros(codebook_size, np.int64) for level in LEVELS}
    samples = 0
    for split in reversed(corpus.SPLITS):
        for place in range(len(dataset.tracks(split))):
            if samples > max_hours * 3600 * 44_100:
                break
            codes = dataset.read_codes(split, place)
            for level in LEVELS:
                counts[level] += np.bincount(codes[level], minlength=codebook_size)
            samples += len(codes[2]) * records.HOPS[2]
    return counts, samples / 44_100


def codes_of_items(items: Sequence[Item], level: int) -> list[np.ndarray]:
    """The codes of one level of every item that has them."""
    found = []
    for item in items:
        try:
            with np.load(item.folder / "codes.npz") as arrays:
                found.append(np.asarray(arrays[f"level_{level}"]).ravel())
        except (OSError, ValueError, KeyError, EOFError):
            continue
    return found
