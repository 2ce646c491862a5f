"""The schema of dataset.json, the description of a dataset."""

import itertools
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.common.formatting import format_count
from jukejax.data import records
from jukejax.data.grid import KEYS, Grid, check_bpm

FORMAT = 1
KINDS = ("audio", "codes")
SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class ShardEntry:
    """A shard: its file name and what `records.ShardSummary` has."""

    file: str
    records: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class Track:
    """Labels of a track and the position of its chunks in the shards.

    Attributes:
      samples: length at the sample rate of the dataset (of a code dataset: codes times hop).
      content: sha256 of the source, which determines the split.
      bpm, first_downbeat, key, sections: see `Grid`; samples are relative to the first stored one.
      grid_origin: of bpm, first_downbeat, key and sections: "tag", "metadata", "estimate" or
        "corpus".
      grid_confidence: of the same, 0 to 1.
      offset: samples of the piece before the first stored one (`encode --offsets` stores a piece
        several times).
      lyrics: of the whole piece, as written in its source.
      lyric_times: (character of `lyrics`, seconds from the first stored sample) where it is known
        when a line or word begins.
      pitch_shift, tempo_factor: semitones and factor by which the stored sound was changed; bpm,
        first_downbeat, key, sections and lyric_times are those of the stored sound.
      shard, first_record, records: position of its chunks in the split's list of shards.
    """

    name: str
    artist: str = ""
    genre: tuple[str, ...] = ()
    samples: int = 0
    channels: int = 1
    content: str = ""
    bpm: float | None = None
    first_downbeat: float | None = None
    key: str | None = None
    sections: tuple[tuple[str, float], ...] = ()
    grid_origin: dict[str, str] = field(default_factory=dict)
    grid_confidence: dict[str, float] = field(default_factory=dict)
    lyrics: str = ""
    lyric_times: tuple[tuple[int, float], ...] = ()
    shard: int = 0
    first_record: int = 0
    records: int = 0
    offset: int = 0
    pitch_shift: int = 0
    tempo_factor: float = 1.0

    @property
    def grid(self) -> Grid:
        """Returns the musical grid of the stored sound."""
        return Grid(self.bpm, self.first_downbeat, self.key, self.sections)

    def with_grid(self, grid: Grid) -> "Track":
        """Returns the track with another musical grid."""
        return replace(self, **{one.name: getattr(grid, one.name) for one in fields(Grid)})

    def shift_lyric_times(self, samples: int, sample_rate: int) -> tuple[tuple[int, float], ...]:
        """Returns the times of the lyrics without the first samples."""
        seconds = samples / sample_rate
        return tuple((index, time - seconds) for index, time in self.lyric_times)

    def describe(self) -> dict[str, Any]:
        """Returns the track as JSON values, without sections, lyrics and changes if it has none."""
        table = asdict(self)
        if not self.sections:
            del table["sections"]
        if not self.lyrics:
            del table["lyrics"], table["lyric_times"]
        if (self.pitch_shift, self.tempo_factor) == (0, 1.0):
            del table["pitch_shift"], table["tempo_factor"]
        return table


@dataclass(frozen=True)
class Split:
    """The shards and tracks of one split."""

    shards: tuple[ShardEntry, ...]
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class DatasetFile:
    """The content of dataset.json that is read here; other fields are kept unchecked.

    Attributes:
      references: levels whose references are stored beside their codes.
    """

    format: int
    kind: str
    sample_rate: int
    chunk_samples: int
    hops: tuple[int, ...]
    splits: dict[str, Split]
    corpus_hash: str
    codebook_size: int | None = None
    references: tuple[int, ...] = ()
    vqvae: dict[str, Any] | None = None


def read_dataset_file(path: Path) -> tuple[dict, DatasetFile]:
    """Reads dataset.json; returns its content, and the checked fields.

    Raises:
      ValueError: it is damaged, of another format, or contradicts itself; names the field.
    """
    info = files.read_json(path)
    if "format" not in info:
        raise ValueError(f"{path} is damaged: it has no format; rerun the command that made it")
    if info["format"] != FORMAT:
        raise ValueError(
            f"{path} is of format {info['format']}, this version reads format {FORMAT}"
        )
    try:
        table = freeze(DatasetFile, info, str(path), ignore_unknown=True)
        _check_table(table, str(path))
    except ValueError as error:
        raise ValueError(f"{error}; rerun the command that made it") from error
    return info, table


def _check_table(table: DatasetFile, where: str) -> None:
    _check_hops(table, where)
    if table.kind not in KINDS:
        raise ValueError(f"{where}.kind is {table.kind!r}, not one of {', '.join(KINDS)}")
    if table.splits.keys() != set(SPLITS):
        raise ValueError(f"{where}.splits has {', '.join(table.splits)}, not {', '.join(SPLITS)}")
    if table.sample_rate < 1:
        raise ValueError(f"{where}.sample_rate is {table.sample_rate}, must be positive")
    if table.kind == "codes" and not 1 <= (table.codebook_size or 0) <= 1 << 16:
        raise ValueError(f"{where}.codebook_size is {table.codebook_size}, not 1 to {1 << 16}")
    for name, split in table.splits.items():
        for i, shard in enumerate(split.shards):
            _check_shard(shard, f"{where}.splits.{name}.shards[{i}]")
        for i, track in enumerate(split.tracks):
            _check_track(table, track, split.shards, f"{where}.splits.{name}.tracks[{i}]")


def _check_hops(table: DatasetFile, where: str) -> None:
    """Checks the samples of a code of each level, the finest first, and those of a chunk."""
    hops = table.hops
    if not hops or hops[0] < 1 or any(b <= a or b % a for a, b in itertools.pairwise(hops)):
        raise ValueError(
            f"{where}.hops is {hops}, not a rising sequence such as {records.HOPS}, in which each "
            "number is a multiple of the one before"
        )
    size = records.chunk_samples(hops)
    if table.chunk_samples != size:
        raise ValueError(f"{where}.chunk_samples is {table.chunk_samples}, not {size}")


def _check_shard(shard: ShardEntry, where: str) -> None:
    if Path(shard.file).name != shard.file:
        raise ValueError(f"{where}.file is {shard.file!r}, not the name of a file beside it")
    if min(shard.records, shard.bytes) < 0:
        raise ValueError(f"{where} has {shard.records} records and {shard.bytes} bytes")


def _check_track(
    table: DatasetFile, track: Track, shards: tuple[ShardEntry, ...], where: str
) -> None:
    """Checks that a track is in its shard, and as long as its chunks."""
    if not 0 <= track.shard < len(shards):
        number = format_count(len(shards), "shard")
        raise ValueError(f"{where}.shard is {track.shard}, and the split has {number}")
    end, available = track.first_record + track.records, shards[track.shard].records
    if track.first_record < 0 or track.records < 0 or end > available:
        raise ValueError(
            f"{where} has the records {track.first_record} to {end} of a shard of {available}"
        )
    if track.bpm is not None:
        check_bpm(track.bpm, f"{where}.bpm")
    if track.key is not None and track.key not in KEYS[1:]:
        raise ValueError(f"{where}.key is {track.key!r}, not one such as {KEYS[-1]!r}")
    for index, _ in track.lyric_times:
        if not 0 <= index < len(track.lyrics):
            raise ValueError(
                f"{where}.lyric_times has character {index} of lyrics of {len(track.lyrics)}"
            )
    chunks = -(-track.samples // table.chunk_samples)
    if track.samples < 0 or chunks != track.records or track.offset < 0:
        raise ValueError(
            f"{where} has {track.samples} samples from {track.offset} on in {track.records} records"
        )
