"""Datasets on disk: shards, their tracks, and the split into training and held-out tracks.

A dataset is a folder, local or in a bucket: `dataset.json` (written last: a folder without it is
unfinished), `vocabulary.json`, `index.npz`, and shards such as `train-00000-of-00002.tfrecord`. Its
kind is "audio" or "codes"; both hold the same tracks in the same chunks, see `records`. `writer`
writes them.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jukejax.common import mirrors
from jukejax.common.formatting import format_count
from jukejax.data import audio, byte_sources, records, shard_index
from jukejax.data.dataset_file import SPLITS, DatasetFile, Track, read_dataset_file
from jukejax.data.vocabularies import Vocabulary

COMMANDS = {"audio": "prepare", "codes": "encode"}  # the commands that write each kind


@dataclass(frozen=True)
class Dataset:
    """Reads a dataset; several threads may read at once.

    Attributes:
      info: content of dataset.json.
      table: its checked fields.
    """

    folder: Path
    info: dict
    table: DatasetFile

    @property
    def kind(self) -> str:
        """Returns "audio" or "codes"."""
        return self.info["kind"]

    @property
    def corpus_hash(self) -> str:
        """Returns the sha256 of the content of the dataset."""
        return self.info["corpus_hash"]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Reads the names of artists and genres."""
        return Vocabulary.load(self.folder / "vocabulary.json")

    @cached_property
    def _index(self) -> dict[str, np.ndarray]:
        return shard_index.read_index(self.folder)

    @cached_property
    def _shards(self) -> dict[str, list[records.Shard]]:
        return {
            split: [self._open_shard(entry) for entry in self._shard_entries(split)]
            for split in SPLITS
        }

    @cached_property
    def _tracks(self) -> dict[str, tuple[Track, ...]]:
        return {split: self._list_tracks(split) for split in SPLITS}

    def tracks(self, split: str) -> tuple[Track, ...]:
        """Returns the tracks of "train" or "heldout"."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; there are {' and '.join(SPLITS)}")
        return self._tracks[split]

    def check_kind(self, kind: str) -> None:
        """Checks the kind of the dataset.

        Raises:
          ValueError: the dataset is of the other kind.
        """
        if self.kind != kind:
            raise ValueError(
                f"{self.folder} holds {self.kind}, not {kind}: it is the output of "
                f"{COMMANDS[self.kind]}, and that of {COMMANDS[kind]} is needed here"
            )

    def check_rate(self, sample_rate: int) -> None:
        """Checks the sample rate of the sound of the dataset.

        Raises:
          ValueError: it is another one.
        """
        if self.table.sample_rate != sample_rate:
            raise ValueError(
                f"{self.folder} is at {self.table.sample_rate} Hz, and {sample_rate} Hz are needed "
                f"here; run prepare with --sample_rate={sample_rate}"
            )

    def read_chunk(self, split: str, track: Track, chunk: int) -> memoryview:
        """Reads the payload of one chunk and checks its CRC; valid until the next read."""
        return self._shards[split][track.shard].read(track.first_record + chunk)

    def read_track(self, split: str, i: int) -> np.ndarray:
        """Reads track `i` of an audio dataset, float32 [time, channels]."""
        self.check_kind("audio")
        track = self.tracks(split)[i]
        return np.concatenate(
            [
                audio.to_float(records.decode_audio(self.read_chunk(split, track, chunk)))
                for chunk in range(track.records)
            ]
        )

    def read_codes(
        self, split: str, i: int, levels: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """Reads the codes of track `i` of a code dataset, uint16 [time] of each level.

        Args:
          levels: to read; None: all.
        """
        self.check_kind("codes")
        track, hops = self.tracks(split)[i], self.table.hops
        levels = range(len(hops)) if levels is None else levels
        names = [records.name_level(level) for level in levels]
        codes = [np.empty(track.samples // hops[level], np.uint16) for level in levels]
        ends = [0] * len(levels)
        for chunk in range(track.records):
            payload = self.read_chunk(split, track, chunk)
            for j, chunk_codes in enumerate(records.decode_codes(payload, names)):
                codes[j][ends[j] : ends[j] + len(chunk_codes)] = chunk_codes
                ends[j] += len(chunk_codes)
        return codes

    def _shard_entries(self, split: str) -> list[dict]:
        return self.info["splits"][split]["shards"]

    def _open_shard(self, entry: dict) -> records.Shard:
        path = self.folder / entry["file"]
        if not byte_sources.source_exists(path):
            raise ValueError(f"{path} is missing; rerun the command that made {self.folder}")
        lengths = None
        if mirrors.find_object(path) is not None:  # in a bucket, where each header is a request
            lengths = shard_index.find_lengths(self._index, entry)
        shard = records.Shard(path, lengths)
        lost = entry["records"] - len(shard)
        if lost > 0:
            number, verb = format_count(entry["records"], "record"), "is" if lost == 1 else "are"
            print(
                f"warning: {path} was cut short: {lost} of its {number} {verb} lost, the others "
                "are used",
                file=sys.stderr,
            )
        return shard

    def _list_tracks(self, split: str) -> tuple[Track, ...]:
        """Lists the tracks of a split, without the lost chunks of damaged shards."""
        tracks = []
        for track in self.table.splits[split].tracks:
            present = max(len(self._shards[split][track.shard]) - track.first_record, 0)
            if present < track.records:
                samples = present * self.table.chunk_samples
                track = dataclasses.replace(track, records=present, samples=samples)
            if track.records:
                tracks.append(track)
        return tuple(tracks)


def open_dataset(folder: str | os.PathLike) -> Dataset:
    """Opens the output of `prepare` or `encode`, a folder of this machine or of a bucket.

    Raises:
      ValueError: the folder has no complete dataset of a supported format, or dataset.json is
        damaged.
    """
    folder = mirrors.open_input(folder)
    path = folder / "dataset.json"
    if not path.exists():
        raise ValueError(
            f"{folder} has no dataset.json: it is not a dataset, or the command that makes it "
            "did not finish; run it again"
        )
    return Dataset(folder, *read_dataset_file(path))
