"""The cache of prepared tracks: entries by sound and processing, and a record of each file.

An entry is an array (.npy), its fingerprint (.npz) and its facts (.json). The record of a file has
the hash of its sound and its labels, so that a second run does not decode it.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from jukejax.analysis import fingerprint
from jukejax.common import files
from jukejax.data import audio, decoding
from jukejax.preparation.prepared_track import PreparedTrack

VERSION = 3  # of the processing in `tracks`; a change invalidates cached tracks


def record_path(cache: Path, path: str) -> Path:
    """Returns the path of the record of a file.

    Raises:
      ValueError: the file cannot be read.
    """
    with decoding.open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache / "sources" / f"{digest}-{VERSION}.json"


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
    try:
        facts = json.loads(entry.with_suffix(".json").read_text())
        prepared = PreparedTrack(**facts | {"name": name})
        if prepared.reason:
            return prepared
        prepared = replace(prepared, array=f"{entry}.npy", fingerprint=f"{entry}.npz")
        shape = np.load(prepared.array, mmap_mode="r").shape
        complete = shape == (prepared.samples, prepared.channels)
        complete = complete and os.path.exists(prepared.fingerprint)
    except (OSError, ValueError, TypeError):
        return None
    return prepared if complete else None


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
    derived = ("name", "array", "fingerprint", "content", "artist", "genre", "bpm", "key")
    facts = {key: value for key, value in asdict(prepared).items() if key not in derived}
    files.write_bytes(entry.with_suffix(".json"), json.dumps(facts).encode(), shared=True)
