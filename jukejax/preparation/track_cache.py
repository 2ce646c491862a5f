"""The cache of prepared tracks: entries by sound and processing, and a record of each file.

An entry is an array (.npy), its fingerprint (.npz) and its facts (.json). The record of a file has
the hash of its sound and its labels, so that a second run does not decode it.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from jukejax.analysis import fingerprint
from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.data import audio, decoding
from jukejax.data.lrc import TimedLyrics
from jukejax.preparation.prepared_track import GridText, PreparedTrack

VERSION = 4  # of the processing in `tracks`; a change invalidates cached tracks


@dataclass(frozen=True)
class SoundFacts:
    """The record of a file: the sha256 of its sound, its labels and lyrics, and notes."""

    content: str
    artist: str
    genre: str
    grid: GridText
    lyrics: TimedLyrics
    notes: list[str]


def record_path(cache: Path, path: str) -> Path:
    """Returns the path of the record of a file.

    Raises:
      ValueError: the file cannot be read.
    """
    with decoding.open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache / "sources" / f"{digest}-{VERSION}.json"


def read_record(path: Path) -> SoundFacts | None:
    """Reads the record of a file; returns None if there is none, or it is damaged."""
    return files.read_cached(path, _read_sound_facts)


def _read_sound_facts(path: Path) -> SoundFacts:
    return freeze(SoundFacts, files.read_json(path), path.name)


def write_record(path: Path, facts: SoundFacts) -> None:
    """Writes the record of a file."""
    path.parent.mkdir(exist_ok=True)
    files.write_json(path, asdict(facts), shared=True)


def entry_path(cache: Path, content: str, process: list) -> Path:
    """Returns the path of an entry, without suffix.

    Args:
      content: sha256 of the sound.
      process: settings of the processing.
    """
    key = json.dumps([content, *process, audio.SAMPLE_RATE, VERSION])
    return cache / hashlib.sha256(key.encode()).hexdigest()[:32]


def read_entry(entry: Path, name: str) -> PreparedTrack | None:
    """Reads a cache entry, which may be a reason only; returns None if it is not complete."""
    prepared = files.read_cached(entry.with_suffix(".json"), _read_facts)
    return None if prepared is None else replace(prepared, name=name)


def _read_facts(path: Path) -> PreparedTrack:
    """Reads the facts of an entry, and checks that its other files fit them."""
    facts = files.read_json(path) | {"name": ""}
    prepared = freeze(PreparedTrack, facts, path.name)
    if prepared.reason:
        return prepared
    array, landmarks = path.with_suffix(".npy"), path.with_suffix(".npz")
    sound = np.load(array, mmap_mode="r")
    if sound.dtype != np.int16 or sound.shape != (prepared.samples, prepared.channels):
        raise ValueError(f"{array.name} is {sound.dtype} {list(sound.shape)}")
    fingerprint.Landmarks.load(landmarks)
    return replace(prepared, array=str(array), fingerprint=str(landmarks))


def write_entry(
    entry: Path,
    prepared: PreparedTrack,
    landmarks: fingerprint.Landmarks,
    blocks: Iterable[np.ndarray],
) -> None:
    """Writes a cache entry; the file of facts is last and marks it as complete.

    Args:
      blocks: int16 [time, channels].
    """
    description = {
        "descr": "<i2",
        "fortran_order": False,
        "shape": (prepared.samples, prepared.channels),
    }
    with (
        files.replacing(entry.with_suffix(".npy"), shared=True) as path,
        open(path, "wb") as file,
    ):
        np.lib.format.write_array_header_1_0(file, description)
        for block in blocks:
            # np.save does not report a full disk
            file.write(np.ascontiguousarray(block, "<i2").data)
    packed = io.BytesIO()
    landmarks.save(packed)
    files.write_buffer(entry.with_suffix(".npz"), packed, shared=True)
    write_facts(entry, prepared)


def write_facts(entry: Path, prepared: PreparedTrack) -> None:
    """Writes the facts of the sound; names and labels are of a track that has it."""
    excluded = ("name", "array", "fingerprint", "content", "artist", "genre", "tags", "lyrics")
    facts = {key: value for key, value in asdict(prepared).items() if key not in excluded}
    files.write_bytes(entry.with_suffix(".json"), json.dumps(facts).encode(), shared=True)
