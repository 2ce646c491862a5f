"""Encoding of a dataset of audio shards to one of code shards; resumable track by track."""

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files, output_locks
from jukejax.common.arrays import read_arrays
from jukejax.common.progress import Progress
from jukejax.data import corpus, reading, records, shard_checks
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.inference.codec import Codec
from jukejax.weights.codec_identity import compare_codecs

VERSION = 1  # version of the encoding; a change invalidates the codes in work folders


@dataclasses.dataclass(frozen=True)
class TrackVersion:
    """One version of a track: a `spans.Sound` that a `Codec` reads.

    Attributes:
      offset: samples of the stored track that are omitted at its start.
    """

    dataset: corpus.Dataset
    split: str
    track: corpus.Track
    offset: int

    @property
    def samples(self) -> int:
        """The length of this version in samples."""
        return self.track.samples - self.offset

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out`, float32 [time], with the mono samples from `start` on."""
        reading.fill_audio_window(self.dataset, self.split, self.track, self.offset + start, out)

    def work_path(self, folder: Path, vqvae_hash: str) -> Path:
        """Returns the file for the codes of this version until the shards are written."""
        track = self.track
        place = self.split, track.shard, track.first_record, track.samples, self.offset
        key = json.dumps([self.dataset.corpus_hash, vqvae_hash, place, VERSION])
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def list_versions(dataset: corpus.Dataset, offsets: int, hop: int) -> list[TrackVersion]:
    """Lists the versions of all tracks in the order in which they are stored.

    Args:
      hop: samples of a top-level code.
      offsets: versions of each training track; held-out tracks have one.
    """
    return [
        TrackVersion(dataset, split, track, k * hop // offsets)
        for split in corpus.SPLITS
        for track in dataset.tracks(split)
        for k in range(offsets if split == "train" else 1)
    ]


def write_track_codes(path: Path, codes: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays of codes of a track."""
    files.write_arrays(path, {name: array.astype(np.uint16) for name, array in codes.items()})


def read_track_codes(
    path: Path, samples: int, hops: Sequence[int], references: Sequence[int] = ()
) -> dict[str, np.ndarray] | None:
    """Reads the arrays of codes of a track of `samples`; None if there are none, or damaged ones.

    Args:
      references: levels that have one.
    """
    read = functools.partial(_read_checked_codes, samples=samples, hops=hops, references=references)
    return files.read_cached(path, read)


def _read_checked_codes(
    path: Path, samples: int, hops: Sequence[int], references: Sequence[int]
) -> dict[str, np.ndarray]:
    arrays, levels = read_arrays(path), records.name_arrays(len(hops), references)
    for name, level in levels.items():
        expected = (samples // hops[-1] * hops[-1] // hops[level],)
        if name not in arrays or arrays[name].dtype != np.uint16 or arrays[name].shape != expected:
            raise ValueError(f"it does not hold {expected[0]} codes of {name}")
    return {name: arrays[name] for name in levels}


def describe_codes(
    dataset: corpus.Dataset, codec: Codec, offsets: int, references: Sequence[int] = ()
) -> dict[str, Any]:
    """Returns the fields of dataset.json that describe the encoding."""
    stored = {"references": list(references)} if references else {}
    return stored | {
        "sample_rate": codec.sample_rate,
        "hops": list(codec.config.hops),
        "codebook_size": codec.config.codebook_size,
        "vqvae": codec.identity,
        "separator": dataset.info.get("separator"),
        "separation": dataset.info.get("separation"),
        "source": dataset.corpus_hash,
        "offsets": offsets,
    }


def is_finished(output: Path, info: dict[str, Any]) -> bool:
    """Returns true if `output` has a complete, undamaged dataset with these fields."""
    try:
        stored = corpus.open_dataset(output)
    except ValueError:
        return False
    names = info.keys() - {"vqvae"}
    if any(stored.info.get(name) != info[name] for name in names):
        return False
    if not compare_codecs(stored.info.get("vqvae"), info["vqvae"]):
        return False
    return shard_checks.find_damage(stored) is None


def encode_tracks(
    codec: Codec,
    versions: Sequence[TrackVersion],
    folder: Path,
    batch_size: int,
    references: Sequence[int] = (),
) -> float:
    """Encodes the tracks without codes in `folder`; returns their length in seconds."""
    paths = {id(version): version.work_path(folder, codec.identity["hash"]) for version in versions}
    missing = [
        version
        for version in versions
        if read_track_codes(paths[id(version)], version.samples, codec.config.hops, references)
        is None
    ]
    progress = _EncodingProgress(
        total=sum(version.samples for version in versions),
        missing=sum(version.samples for version in missing),
        sample_rate=codec.sample_rate,
    )
    encoded = codec.encode_all(missing, batch_size=batch_size, progress=progress.advance)
    for version, codes in encoded:
        arrays = {records.name_level(level): array for level, array in enumerate(codes)}
        for level in references:
            arrays[records.name_reference(level)] = codec.encode_reference(
                codes[level + 1], level, version
            )
        write_track_codes(paths[id(version)], arrays)
    return progress.missing / codec.sample_rate


class _EncodingProgress:
    """Reports progress in seconds of audio, with the speed."""

    def __init__(self, total: int, missing: int, sample_rate: int):
        """Starts at `total - missing` of `total` samples."""
        self.missing = missing
        self._total, self._rate = total, sample_rate
        self._encoded, self._started_at = 0, time.monotonic()
        self._line = Progress(
            "encoding, seconds of audio",
            round(total / sample_rate),
            done=round((total - missing) / sample_rate),
        )

    def advance(self, samples: int) -> None:
        """Adds encoded samples."""
        self._encoded += samples
        speed = self._encoded / self._rate / (time.monotonic() - self._started_at)
        done = self._total - self.missing + self._encoded
        self._line.update(round(done / self._rate), f"{speed:.1f} x real time")


def write_shards(
    output: Path,
    versions: Sequence[TrackVersion],
    folder: Path,
    info: dict[str, Any],
    vocabulary: Vocabulary,
) -> None:
    """Writes the codes in the work folder as shards."""
    with DatasetWriter(output, kind="codes", vocabulary=vocabulary, **info) as writer:
        for version in versions:
            path = version.work_path(folder, info["vqvae"]["hash"])
            references = info.get("references", ())
            codes = read_track_codes(path, version.samples, info["hops"], references)
            if codes is None:
                raise ValueError(
                    f"the codes of {version.track.name} in {folder} were lost or damaged; run again"
                )
            track = dataclasses.replace(
                version.track.with_grid(version.track.grid.shift(version.offset)),
                offset=version.track.offset + version.offset,
                lyric_times=version.track.shift_lyric_times(
                    version.offset, version.dataset.info["sample_rate"]
                ),
            )
            writer.add(version.split, track, **codes)


@dataclasses.dataclass(frozen=True)
class EncodingSummary:
    """The results of a run of `encode_dataset`.

    Attributes:
      tracks: versions of tracks in the output.
      minutes: of music in the output.
      speed: of the encoding, in seconds of audio a second.
    """

    tracks: int
    minutes: float
    speed: float


def encode_dataset(
    dataset: corpus.Dataset,
    codec: Codec,
    output: Path,
    *,
    offsets: int,
    batch_size: int,
    references: Sequence[int] = (),
) -> EncodingSummary | None:
    """Encodes all tracks of an audio dataset and writes their codes to `output`.

    Args:
      offsets: versions of each training track.
      batch_size: windows to encode at once.
      references: levels whose references are stored (`VQVAE.encode_reference`).

    Returns:
      None if `output` already has these codes.

    Raises:
      ValueError: a shard is not as dataset.json records it, another process writes to `output`,
        the disk is full, or the dataset was changed meanwhile.
    """
    dataset.check_rate(codec.sample_rate)
    info = describe_codes(dataset, codec, offsets, references)
    if is_finished(output, info):
        return None
    shard_checks.check_shards(dataset)
    versions, started_at = list_versions(dataset, offsets, codec.hop), time.monotonic()
    with output_locks.lock_output(output, "encode") as folder:
        seconds = encode_tracks(codec, versions, folder, batch_size, references)
        speed = seconds / (time.monotonic() - started_at)
        if corpus.open_dataset(dataset.folder).corpus_hash != dataset.corpus_hash:
            raise ValueError(
                f"{dataset.folder} was changed during the encoding, by another prepare; run again"
            )
        write_shards(output, versions, folder, info, dataset.vocabulary)
        output_locks.clear_work(folder)
    samples = sum(version.samples for version in versions)
    return EncodingSummary(len(versions), samples / codec.sample_rate / 60, speed)
