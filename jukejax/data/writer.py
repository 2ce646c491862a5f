"""Writing of datasets: shards of tracks, and their description."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jukejax.common import files, mirrors
from jukejax.data import audio, records, shard_index, tfds_info
from jukejax.data.corpus import Dataset, open_dataset
from jukejax.data.dataset_file import FORMAT, SPLITS, Track
from jukejax.data.vocabularies import Vocabulary

SHARD_BYTES = 256 << 20  # size at which a shard is closed
_SHARD_NAME = re.compile(r"\.?(train|heldout)-\d{5}(-of-\d{5})?\.tfrecord(\.tmp)?")


class DatasetWriter:
    """Writes a dataset track by track; `close` completes it.

    Shards are written under temporary names and renamed when their number is known;
    `dataset.json` is written last. A killed writer leaves an unfinished folder, which the next one
    overwrites.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        kind: str,
        vocabulary: Vocabulary,
        sample_rate: int = audio.SAMPLE_RATE,
        hops: Sequence[int] = records.HOPS,
        shard_bytes: int = SHARD_BYTES,
        **info: Any,
    ):
        """Starts a dataset of `kind` "audio" or "codes".

        Args:
          sample_rate: of the audio in Hz.
          hops: samples of a code, by level; of codes only.
          info: more fields for dataset.json; audio: separator; codes: codebook_size, vqvae,
            separator, source (corpus_hash of the audio), references.
        """
        if kind not in ("audio", "codes"):
            raise ValueError(f"a dataset is of kind 'audio' or 'codes', not {kind!r}")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._kind, self._vocabulary, self._info = kind, vocabulary, info
        self._sample_rate, self._hops, self._shard_bytes = sample_rate, tuple(hops), shard_bytes
        self._open: dict[str, records.RecordWriter] = {}
        self._shards: dict[str, list[records.ShardSummary]] = {split: [] for split in SPLITS}
        self._lengths: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
        self._tracks: dict[str, list[Track]] = {split: [] for split in SPLITS}

    def add(self, split: str, track: Track, **arrays: np.ndarray) -> None:
        """Appends a track in chunks.

        Args:
          arrays: audio=int16 [time, channels]; or `records.name_arrays` = codes [time of the
            level], integers, for a whole number of top-level codes.

        Raises:
          ValueError: the arrays do not fit the kind of the dataset.
        """
        checked, samples = self._check_arrays(track, arrays)
        shard = self._open_shard(split)
        first_record, size = shard.records, records.chunk_samples(self._hops)
        for chunk, start in enumerate(range(0, samples, size)):
            payload = records.encode_chunk(
                {
                    key: array[start // hop : (start + size) // hop]
                    for key, (array, hop) in checked.items()
                },
                track=len(self._tracks[split]),
                chunk=chunk,
                name=track.name,
                artist=track.artist,
                genre=track.genre,
            )
            shard.write(payload)
        channels = checked["audio"][0].shape[1] if self._kind == "audio" else track.channels
        self._tracks[split].append(
            dataclasses.replace(
                track,
                samples=samples,
                channels=channels,
                shard=len(self._shards[split]),
                first_record=first_record,
                records=shard.records - first_record,
            )
        )
        if shard.bytes >= self._shard_bytes:
            self._finish_shard(split)

    def close(self) -> Dataset:
        """Renames the shards to their final names and writes the JSON files."""
        for split in list(self._open):
            self._finish_shard(split)
        mirrors.discard(self.folder / "dataset.json")
        table = self._describe()
        self._rename_shards(table)
        shard_index.write_index(self.folder, table, self._lengths)
        self._vocabulary.save(self.folder / "vocabulary.json")
        tfds_info.write_description(self.folder, table)
        files.write_json(self.folder / "dataset.json", table)
        return open_dataset(self.folder)

    def abandon(self) -> None:
        """Removes all unfinished files."""
        for shard in self._open.values():
            shard.abandon()
        for split in SPLITS:
            for i in range(len(self._shards[split])):
                self._temporary_path(split, i).unlink(missing_ok=True)

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _check_arrays(
        self, track: Track, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, tuple[np.ndarray, int]], int]:
        """Checks the arrays of a track.

        Returns:
          {key: (array to store, samples per entry)} and the length in samples.
        """
        if self._kind == "audio":
            if set(arrays) != {"audio"} or arrays["audio"].dtype != np.int16:
                raise ValueError(f"{track.name}: audio datasets take audio=int16 [time, channels]")
            return {"audio": (arrays["audio"], 1)}, len(arrays["audio"])
        levels = records.name_arrays(len(self._hops), self._info.get("references", ()))
        if set(arrays) != set(levels):
            raise ValueError(f"{track.name}: a code dataset takes {', '.join(levels)}")
        top = records.name_level(len(self._hops) - 1)
        samples = len(arrays[top]) * self._hops[-1]
        size = self._info["codebook_size"]
        hops = {key: self._hops[level] for key, level in levels.items()}
        for key, hop in hops.items():
            codes = arrays[key]
            if codes.ndim != 1 or len(codes) * hop != samples:
                raise ValueError(
                    f"{track.name}: {key} has shape {codes.shape}, and {samples} samples "
                    f"(by {top}) need [{samples // hop}]"
                )
            if codes.size and not 0 <= codes.min() <= codes.max() < size:
                raise ValueError(f"{track.name}: {key} holds codes outside [0, {size})")
        return {key: (arrays[key].astype(np.uint16), hop) for key, hop in hops.items()}, samples

    def _temporary_path(self, split: str, shard: int) -> Path:
        return self.folder / f".{split}-{shard:05d}.tfrecord.tmp"

    def _open_shard(self, split: str) -> records.RecordWriter:
        """Returns the unfinished shard of a split, or a new one."""
        if split not in self._open:
            path = self._temporary_path(split, len(self._shards[split]))
            self._open[split] = records.RecordWriter(path)
        return self._open[split]

    def _finish_shard(self, split: str) -> None:
        shard = self._open.pop(split)
        self._shards[split].append(shard.close())
        self._lengths[split].append(shard.lengths)

    def _rename_shards(self, table: Mapping[str, Any]) -> None:
        """Renames the shards to the names in `table`, and removes those of older datasets."""
        names = set()
        for split in SPLITS:
            for i, shard in enumerate(table["splits"][split]["shards"]):
                os.replace(self._temporary_path(split, i), self.folder / shard["file"])
                mirrors.publish(self.folder / shard["file"])
                names.add(shard["file"])
        for path in self.folder.iterdir():
            if path.name not in names and _SHARD_NAME.fullmatch(path.name):
                mirrors.discard(path)

    def _describe(self) -> dict[str, Any]:
        """Returns the content of dataset.json."""
        tracks = [track for split in SPLITS for track in self._tracks[split]]
        table = {
            "format": FORMAT,
            "kind": self._kind,
            "sample_rate": self._sample_rate,
            "chunk_samples": records.chunk_samples(self._hops),
            "channels": max((track.channels for track in tracks), default=0),
            "hops": list(self._hops),
            **self._info,
            "splits": {split: self._describe_split(split) for split in SPLITS},
        }
        content = json.dumps(table, sort_keys=True).encode()
        return table | {"corpus_hash": hashlib.sha256(content).hexdigest()}

    def _describe_split(self, split: str) -> dict[str, Any]:
        total = len(self._shards[split])
        return {
            "shards": [
                {"file": f"{split}-{i:05d}-of-{total:05d}.tfrecord"} | dataclasses.asdict(shard)
                for i, shard in enumerate(self._shards[split])
            ],
            "tracks": [track.describe() for track in self._tracks[split]],
        }
