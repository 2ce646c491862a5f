"""Readers of training runs and data sets, for pages of finished and unfinished runs.

Missing and incomplete files are read as empty, missing figures as None. The formats are those of
data/corpus.py, preparation and training/run_log.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files
from jukejax.common.json_values import join_text, parse_number
from jukejax.data import corpus

_SAMPLE_RATE = 44_100  # for data sets without a rate in their description


@dataclass(frozen=True)
class TrainingRun:
    """A training run: the entries of metrics.jsonl and the content of summary.json."""

    folder: Path
    entries: tuple[dict, ...]
    summary: dict

    @classmethod
    def read(cls, folder: Path) -> "TrainingRun":
        """Reads a working folder; lines that are no JSON object with a step are skipped."""
        entries = []
        try:
            text = (folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed run
                continue
            if isinstance(entry, dict) and parse_number(entry.get("step")) is not None:
                entries.append(entry)
        return cls(folder, tuple(entries), files.read_json_if_any(folder / "summary.json"))

    def select_series(self, key: str, split: str) -> tuple[list[float], list[float]]:
        """Returns the steps and the values of one metric on one split.

        If the sample of held-out windows changed during the run, those of the last sample.
        """
        rows = [
            (entry["step"], value, entry.get("windows"))
            for entry in self.entries
            if entry.get("split") == split and (value := parse_number(entry.get(key))) is not None
        ]
        points = [(step, value) for step, value, windows in rows if windows == rows[-1][2]]
        return [step for step, _ in points], [value for _, value in points]

    def find_heldout(self, key: str) -> float | None:
        """Returns the last held-out value of a metric, from the summary or else the entries."""
        summary = self.summary.get("heldout")
        value = parse_number(summary.get(key)) if isinstance(summary, dict) else None
        if value is None:
            _, values = self.select_series(key, "heldout")
            value = values[-1] if values else None
        return value

    @property
    def seconds(self) -> float | None:
        """Returns the wall-clock time of the training in seconds."""
        value = parse_number(self.summary.get("seconds"))
        if value is None and self.entries:
            value = parse_number(self.entries[-1].get("seconds"))
        return value

    @property
    def steps(self) -> int | None:
        """Returns the number of training steps."""
        value = parse_number(self.summary.get("steps"))
        if value is None and self.entries:
            value = parse_number(self.entries[-1]["step"])
        return None if value is None else int(value)


@dataclass(frozen=True)
class Corpus:
    """The tracks of a data set folder.

    Attributes:
      splits: descriptions of the tracks by split.
      sample_rate: Hz.
      separator: name of the vocal separator, "" or "none" without one.
      outcomes: content of corpus.json, with the outcome of every input file.
    """

    splits: dict[str, list[dict]]
    sample_rate: int
    separator: str
    outcomes: dict = field(repr=False)

    @classmethod
    def read(cls, folder: Path | None) -> "Corpus":
        """Reads a data set folder; without one the corpus is empty."""
        description = files.read_json_if_any(folder / "dataset.json") if folder else {}
        splits = description.get("splits")
        tracks = {
            name: [track for track in split.get("tracks") or [] if isinstance(track, dict)]
            for name, split in (splits if isinstance(splits, dict) else {}).items()
            if isinstance(split, dict)
        }
        return cls(
            tracks,
            int(parse_number(description.get("sample_rate")) or _SAMPLE_RATE),
            join_text(description.get("separator")),
            files.read_json_if_any(folder / "corpus.json") if folder else {},
        )

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    @property
    def seconds(self) -> float:
        """Returns the total length of all tracks in seconds."""
        tracks = [track for split in self.splits.values() for track in split]
        return sum(parse_number(track.get("samples")) or 0 for track in tracks) / self.sample_rate

    @property
    def separation(self) -> dict[str, tuple[float | None, float | None]]:
        """Returns for each file the SI-SDR of its instrumental before and after vocal removal, dB.

        It is available for corpora with known instrumentals only.
        """
        si_sdr = {}
        for entry in self._entries:
            measured = entry.get("instrumental_si_sdr")
            if isinstance(measured, dict):
                pair = parse_number(measured.get("before")), parse_number(measured.get("after"))
                si_sdr[join_text(entry.get("file"))] = pair
        return si_sdr

    @property
    def refused(self) -> list[tuple[str, str]]:
        """Returns the files that were not used, each with the reason."""
        return [
            (join_text(entry.get("file")), join_text(entry["reason"]))
            for entry in self._entries
            if entry.get("reason")
        ]

    @property
    def _entries(self) -> list[dict]:
        entries = self.outcomes.get("files")
        return [entry for entry in entries if isinstance(entry, dict)] if entries else []

    @property
    def genres(self) -> list[str]:
        """Returns the genres of all tracks in alphabetical order."""
        genres: set[Any] = set()
        for split in self.splits.values():
            for track in split:
                genre = track.get("genre") or []
                genres.update(genre if isinstance(genre, list) else [join_text(genre)])
        return sorted(map(str, genres))


def count_corpus_codes(
    folder: Path, codebook_size: int, *, max_hours: float = 2.0
) -> tuple[Mapping[int, np.ndarray], float]:
    """Counts the codes of a code data set.

    Reads whole tracks, held-out ones first, until `max_hours` are counted, which is enough for a
    stable distribution.

    Returns:
      Counts [codebook_size] by level, and the seconds counted.
    """
    dataset = corpus.open_dataset(folder)
    hops, sample_rate = dataset.table.hops, dataset.table.sample_rate
    counts = {level: np.zeros(codebook_size, np.int64) for level in reversed(range(len(hops)))}
    samples = 0
    for split in reversed(corpus.SPLITS):
        for index in range(len(dataset.tracks(split))):
            if samples > max_hours * 3600 * sample_rate:
                break
            codes = dataset.read_codes(split, index)
            for level in counts:
                counts[level] += np.bincount(codes[level], minlength=codebook_size)
            samples += len(codes[0]) * hops[0]
    return counts, samples / sample_rate
