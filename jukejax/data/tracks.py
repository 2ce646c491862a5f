"""One source, a file or a track of the house corpus, made ready for a shard, once.

`make` is the whole of the work on a track: decode, mend, separate, to 16 bits, into the cache. It
depends on nothing but its arguments, so that any process on any machine may run it.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.data import audio, separate

if TYPE_CHECKING:
    from jukejax.data.house import HouseTrack

VERSION = 1  # of this file's processing; a change makes cached tracks stale
SILENT = 1e-3  # peak, -60 dB
DC = 0.005  # offsets above this are removed
ANTI_PHASE = 0.1  # of the channels' loudness: what is left of an anti-phase track in mono


@dataclass(frozen=True)
class Source:
    """Where a track comes from: a file, or number `index` of the house corpus."""

    name: str
    path: str = ""
    index: int = 0
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """What became of a source.

    Attributes:
      reason: why it cannot be used; empty if it can.
      array: file in the cache with int16 [time, channels].
      content: sha256 of the source.
      notes: what had to be mended.
      sdr: SI-SDR in dB of the instrumental against the truth, before and after separation, where
        the truth is known.
    """

    name: str
    reason: str = ""
    array: str = ""
    content: str = ""
    samples: int = 0
    channels: int = 0
    artist: str = ""
    genre: str = ""
    bpm: float | None = None
    key: str | None = None
    notes: list[str] = field(default_factory=list)
    sdr: dict[str, float] | None = None


def make(source: Source, separator: str, cache: str) -> Made:
    """Prepares one source, or finds it in the cache.

    Args:
      separator: a method of `separate`.
      cache: folder; entries are keyed by the content of the source and by the processing.

    Raises:
      OSError: if the cache cannot be written; what is wrong with the source is in the result.
    """
    try:
        track = None if source.path else _house_track(source)
        content = _hash_file(source.path) if track is None else _hash_array(track.mix)
        key = json.dumps([content, separator, audio.SAMPLE_RATE, VERSION])
        entry = Path(cache) / hashlib.sha256(key.encode()).hexdigest()[:32]
        if (made := _cached(entry, source.name)) is not None:
            return made
        mix = audio.load(source.path) if track is None else track.mix
        mix, notes = mend(mix)
    except ValueError as error:
        return Made(source.name, reason=str(error))
    instrumental = separate.separate(mix, separator)
    peak = float(np.abs(instrumental).max())
    if peak > 1.0:
        instrumental = instrumental / peak
        notes.append(f"peak {peak:.3f}: turned down by {20 * np.log10(peak):.1f} dB")
    made = Made(
        source.name,
        array=f"{entry}.npy",
        content=content,
        samples=len(mix),
        channels=mix.shape[1],
        notes=notes,
        **(_tags(source.path) if track is None else _house_facts(track, instrumental)),
    )
    _save(entry, made, audio.to_int16(instrumental))
    return made


def mend(mix: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Removes faults that a model would learn; returns the track and what was done.

    Args:
      mix: float32 [time, channels].

    Raises:
      ValueError: if the track is silent.
    """
    notes = []
    offset = mix.mean(axis=0)
    if np.abs(offset).max() > DC:
        mix = mix - offset
        notes.append(f"DC offset of {offset[np.abs(offset).argmax()]:.3f} removed")
    peak = float(np.abs(mix).max())
    if peak < SILENT:
        raise ValueError(f"silent (peak {20 * np.log10(max(peak, 1e-9)):.0f} dB)")
    if mix.shape[1] == 2:
        left, right = mix.T
        if np.array_equal(left, right):
            return np.ascontiguousarray(mix[:, :1]), [*notes, "two equal channels: kept as mono"]
        loudness = np.sqrt(np.mean(mix**2))
        if np.sqrt(np.mean(((left + right) / 2) ** 2)) < ANTI_PHASE * loudness:
            mix = mix * np.array([1, -1], np.float32)
            notes.append("anti-phase: right channel inverted, so that the mono sum does not cancel")
    return mix, notes


def _house_track(source: Source) -> "HouseTrack":
    from jukejax.data import house  # 1 s, and a folder of files does without

    return house.track(source.index, seconds=source.seconds, seed=source.seed)


def _house_facts(track: "HouseTrack", instrumental: np.ndarray) -> dict:
    return {
        "artist": track.artist,
        "genre": track.genre,
        "bpm": float(track.bpm),
        "key": track.key,
        "sdr": {
            "before": round(separate.si_sdr(track.mix, track.instrumental), 3),
            "after": round(separate.si_sdr(instrumental, track.instrumental), 3),
        },
    }


def _hash_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def _hash_array(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()


def _tags(path: str) -> dict[str, str]:
    """Artist and genre by the file's own tags; empty where there are none."""
    import mutagen

    try:
        tags = mutagen.File(path, easy=True)
    except (mutagen.MutagenError, OSError, ValueError):
        return {}

    def first(*keys: str) -> list[str]:
        for key in keys:
            if tags and key in tags:
                value = tags[key]
                return [str(part) for part in (value if isinstance(value, list) else [value])]
        return []

    artist = first("artist", "TPE1", "Author")
    return {
        "artist": artist[0] if artist else "",
        "genre": "; ".join(first("genre", "TCON", "WM/Genre")),
    }


def _cached(entry: Path, name: str) -> Made | None:
    try:
        facts = json.loads(entry.with_suffix(".json").read_text())
        made = Made(**facts | {"name": name, "array": f"{entry}.npy"})
        shape = np.load(made.array, mmap_mode="r").shape
    except (OSError, ValueError, TypeError):
        return None
    return made if shape == (made.samples, made.channels) else None


def _save(entry: Path, made: Made, array: np.ndarray) -> None:
    """The array first, then the facts: an entry with facts is whole."""
    array = np.ascontiguousarray(array)
    temporary = entry.with_suffix(f".{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(array)  # np.save would hide that a disk is full
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, entry.with_suffix(".npy"))
    finally:
        temporary.unlink(missing_ok=True)
    facts = {key: value for key, value in asdict(made).items() if key not in ("name", "array")}
    audio.write_atomic(entry.with_suffix(".json"), json.dumps(facts).encode())
