"""A prepared corpus on disk: shards, what is in them, and which tracks are held out.

A dataset is a folder: `dataset.json` (written last: a folder without it is unfinished),
`vocabulary.json`, and shards such as `train-00000-of-00002.tfrecord`. Its kind is "audio" or
"codes"; both hold the same tracks in the same chunks, see `records`.
"""

import dataclasses
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.data import audio, records, tfds_info
from jukejax.data.labels import Vocabulary

SPLITS = ("train", "heldout")
FORMAT = 1
_SHARD_NAME = re.compile(r"\.?(train|heldout)-\d{5}(-of-\d{5})?\.tfrecord(\.tmp)?")


@dataclass(frozen=True)
class Track:
    """One track: what it is called, and where its chunks lie.

    Attributes:
      samples: length at the sample rate of the dataset (of a code dataset: codes times hop).
      content: sha256 of the source, by which splits are drawn.
      offset: samples of the piece that were cut off before the first stored one (`encode --offsets`
        stores a piece several times).
      shard, first_record, records: place of its chunks in the split's list of shards.
    """

    name: str
    artist: str = ""
    genre: tuple[str, ...] = ()
    samples: int = 0
    channels: int = 1
    content: str = ""
    bpm: float | None = None
    key: str | None = None
    shard: int = 0
    first_record: int = 0
    records: int = 0
    offset: int = 0


class DatasetWriter:
    """Writes a dataset track by track; `close` makes it appear.

    Shards grow under temporary names and are renamed when their number is known; `dataset.json`
    comes last. A killed writer leaves an unfinished folder, and the next one starts it again.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        kind: str,
        vocabulary: Vocabulary,
        shard_bytes: int = 256 << 20,
        **info,
    ):
        """Starts a dataset of `kind` "audio" or "codes".

        Args:
          info: more fields for dataset.json; audio: separator; codes: codebook_size, vqvae,
            separator, source (corpus_hash of the audio).
        """
        if kind not in ("audio", "codes"):
            raise ValueError(f"a dataset is of kind 'audio' or 'codes', not {kind!r}")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._kind, self._vocabulary, self._info = kind, vocabulary, info
        self._shard_bytes = shard_bytes
        self._open: dict[str, records.RecordWriter | None] = dict.fromkeys(SPLITS)
        self._shards: dict[str, list[records.ShardSummary]] = {split: [] for split in SPLITS}
        self._tracks: dict[str, list[Track]] = {split: [] for split in SPLITS}

    def add(self, split: str, track: Track, **arrays: np.ndarray) -> None:
        """Appends a whole track, cut into chunks.

        Args:
          arrays: audio=int16 [time, channels]; or level_0, level_1, level_2 = codes [time of that
            level], integers, for a whole number of top-level codes.
        """
        arrays, samples = self._check(track, arrays)
        shard = self._shard(split)
        place = len(self._shards[split]), shard.records
        for chunk, start in enumerate(range(0, samples, records.CHUNK)):
            part = {
                key: array[start // hop : (start + records.CHUNK) // hop]
                for key, (array, hop) in arrays.items()
            }
            payload = records.encode_chunk(
                part,
                track=len(self._tracks[split]),
                chunk=chunk,
                name=track.name,
                artist=track.artist,
                genre=track.genre,
            )
            shard.write(payload)
        channels = arrays["audio"][0].shape[1] if self._kind == "audio" else track.channels
        self._tracks[split].append(
            dataclasses.replace(
                track,
                samples=samples,
                channels=channels,
                shard=place[0],
                first_record=place[1],
                records=shard.records - place[1],
            )
        )
        if shard.bytes >= self._shard_bytes:
            self._finish_shard(split)

    def close(self) -> "Dataset":
        """Renames the shards to their final names and writes the JSON files."""
        for split in SPLITS:
            if self._open[split]:
                self._finish_shard(split)
        (self.folder / "dataset.json").unlink(missing_ok=True)
        table = {"format": FORMAT, "kind": self._kind, "sample_rate": audio.SAMPLE_RATE}
        table["chunk_samples"] = records.CHUNK
        table["channels"] = max(
            (track.channels for split in SPLITS for track in self._tracks[split]), default=0
        )
        table["hops"] = list(records.HOPS)
        table |= self._info | {"splits": {split: self._describe(split) for split in SPLITS}}
        table["corpus_hash"] = hashlib.sha256(
            json.dumps(table, sort_keys=True).encode()
        ).hexdigest()
        kept = set()
        for split in SPLITS:
            for i, shard in enumerate(table["splits"][split]["shards"]):
                os.replace(self._temporary(split, i), self.folder / shard["file"])
                kept.add(shard["file"])
        for path in self.folder.iterdir():
            if path.name not in kept and _SHARD_NAME.fullmatch(path.name):
                path.unlink()
        self._vocabulary.save(self.folder / "vocabulary.json")
        tfds_info.write(self.folder, table)
        files.write_json(self.folder / "dataset.json", table)
        return open_dataset(self.folder)

    def abandon(self) -> None:
        """Removes what was written so far."""
        for split in SPLITS:
            if self._open[split]:
                self._open[split].abandon()
            for i in range(len(self._shards[split])):
                self._temporary(split, i).unlink(missing_ok=True)

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _check(self, track: Track, arrays: Mapping[str, np.ndarray]):
        """{key: (array to store, samples per entry)} and the length in samples."""
        if self._kind == "audio":
            if set(arrays) != {"audio"} or arrays["audio"].dtype != np.int16:
                raise ValueError(f"{track.name}: audio datasets take audio=int16 [time, channels]")
            return {"audio": (arrays["audio"], 1)}, len(arrays["audio"])
        if set(arrays) != set(records.LEVELS):
            raise ValueError(f"{track.name}: a code dataset takes {', '.join(records.LEVELS)}")
        samples = len(arrays["level_2"]) * records.HOPS[2]
        for key, hop in zip(records.LEVELS, records.HOPS, strict=True):
            codes = arrays[key]
            if codes.ndim != 1 or len(codes) * hop != samples:
                raise ValueError(
                    f"{track.name}: {key} has shape {codes.shape}, and {samples} samples "
                    f"(by level_2) need [{samples // hop}]"
                )
            size = self._info["codebook_size"]
            if codes.size and not 0 <= codes.min() <= codes.max() < size:
                raise ValueError(f"{track.name}: {key} holds codes outside [0, {size})")
        return {
            key: (arrays[key].astype(np.uint16), hop)
            for key, hop in zip(records.LEVELS, records.HOPS, strict=True)
        }, samples

    def _temporary(self, split: str, shard: int) -> Path:
        return self.folder / f".{split}-{shard:05d}.tfrecord.tmp"

    def _shard(self, split: str) -> records.RecordWriter:
        if self._open[split] is None:
            path = self._temporary(split, len(self._shards[split]))
            self._open[split] = records.RecordWriter(path)
        return self._open[split]

    def _finish_shard(self, split: str) -> None:
        self._shards[split].append(self._open[split].close())
        self._open[split] = None

    def _describe(self, split: str) -> dict:
        total = len(self._shards[split])
        return {
            "shards": [
                {"file": f"{split}-{i:05d}-of-{total:05d}.tfrecord"} | dataclasses.asdict(shard)
                for i, shard in enumerate(self._shards[split])
            ],
            "tracks": [dataclasses.asdict(track) for track in self._tracks[split]],
        }


@dataclass(frozen=True)
class Dataset:
    """A dataset opened for reading; reads are safe from several threads."""

    folder: Path
    info: dict

    @property
    def kind(self) -> str:
        return self.info["kind"]

    @property
    def corpus_hash(self) -> str:
        return self.info["corpus_hash"]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.folder / "vocabulary.json")

    @cached_property
    def _shards(self) -> dict[str, list[records.Shard]]:
        return {split: [self._open_shard(s) for s in self._listed(split)] for split in SPLITS}

    @cached_property
    def _tracks(self) -> dict[str, tuple[Track, ...]]:
        return {split: self._open_tracks(split) for split in SPLITS}

    def tracks(self, split: str) -> tuple[Track, ...]:
        """The tracks of "train" or "heldout"."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; there are {' and '.join(SPLITS)}")
        return self._tracks[split]

    def read_chunk(self, split: str, track: Track, chunk: int) -> memoryview:
        """The payload of one chunk, its checksum checked; use it before the next read."""
        return self._shards[split][track.shard].read(track.first_record + chunk)

    def read_track(self, split: str, i: int) -> np.ndarray:
        """float32 [time, channels], the whole track `i` of an audio dataset."""
        track = self._audio_track(split, i)
        return np.concatenate(
            [
                audio.to_float(records.decode_audio(self.read_chunk(split, track, chunk)))
                for chunk in range(track.records)
            ]
        )

    def read_codes(self, split: str, i: int) -> list[np.ndarray]:
        """uint16 [time], the codes of levels 0, 1, 2 of track `i` of a code dataset."""
        track = self.tracks(split)[i]
        if self.kind != "codes":
            raise ValueError(f"{self.folder} holds audio, not codes; make codes of it with encode")
        chunks = [
            [level.copy() for level in records.decode_codes(self.read_chunk(split, track, chunk))]
            for chunk in range(track.records)
        ]
        return [np.concatenate(level) for level in zip(*chunks, strict=True)]

    def _audio_track(self, split: str, i: int) -> Track:
        track = self.tracks(split)[i]
        if self.kind != "audio":
            raise ValueError(f"{self.folder} holds codes, not audio; give the folder of prepare")
        return track

    def _listed(self, split: str) -> list[dict]:
        return self.info["splits"][split]["shards"]

    def _open_shard(self, listed: dict) -> records.Shard:
        path = self.folder / listed["file"]
        if not path.exists():
            raise ValueError(f"{path} is missing; rerun the command that made {self.folder}")
        shard = records.Shard(path)
        lost = listed["records"] - len(shard)
        if lost > 0:
            print(
                f"warning: {path} was cut short: {lost} of its {listed['records']} records are "
                "lost, the others are used",
                file=sys.stderr,
            )
        return shard

    def _open_tracks(self, split: str) -> tuple[Track, ...]:
        tracks = []
        for row in self.info["splits"][split]["tracks"]:
            track = Track(**row | {"genre": tuple(row["genre"])})
            there = len(self._shards[split][track.shard]) - track.first_record
            if there < track.records:
                samples = max(there, 0) * records.CHUNK
                track = dataclasses.replace(track, records=max(there, 0), samples=samples)
            if track.records:
                tracks.append(track)
        return tuple(tracks)


def open_dataset(folder: str | os.PathLike) -> Dataset:
    """Opens the output of `prepare` or `encode`."""
    folder = Path(folder)
    path = folder / "dataset.json"
    if not path.exists():
        raise ValueError(
            f"{folder} has no dataset.json: it is not a dataset, or the command that makes it "
            "did not finish; run it again"
        )
    try:
        info = json.loads(path.read_text())
        if info["format"] != FORMAT or info["chunk_samples"] != records.CHUNK:
            raise ValueError(f"{path} is of format {info['format']}, we read format {FORMAT}")
        if info["kind"] not in ("audio", "codes") or set(info["splits"]) != set(SPLITS):
            raise KeyError("kind")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged; rerun the command that made it") from error
    return Dataset(folder, info)
