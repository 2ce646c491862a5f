"""Preparation of one source, a file or a track of the house corpus, for a shard.

`prepare_track` decodes, repairs, separates, trims, computes the fingerprint, converts to 16 bits
and writes the result to the cache. It depends on its arguments only, so that it can run in any
process on any machine.
"""

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jukejax.analysis import fidelity, fingerprint
from jukejax.common import files
from jukejax.data import audio
from jukejax.preparation.metadata import read_tags
from jukejax.preparation.rules import Rules, cut_pieces, loudness_gain, survey_sound

if TYPE_CHECKING:
    from jukejax.preparation.house import HouseTrack

VERSION = 2  # version of the processing in this file; a change invalidates cached tracks
SILENT = 1e-3  # peak, -60 dB
DC = 0.005  # offsets above this are removed
ANTI_PHASE = 0.1  # a mono sum below this share of the channels' RMS is anti-phase


class Separator(Protocol):
    """Removes vocals, float32 [time, channels] to the same; see `separators`."""

    @property
    def method(self) -> str: ...

    @property
    def hash(self) -> str: ...

    def __call__(self, mix: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Source:
    """The source of a track: a file, or track `index` of the house corpus."""

    name: str
    path: str = ""
    index: int = 0
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class PreparedTrack:
    """The result of the preparation of a source.

    Attributes:
      reason: reason why the source cannot be used; empty if it can.
      array: file in the cache with int16 [time, channels].
      fingerprint: file in the cache with its `fingerprint.Landmarks`.
      content: sha256 of the source.
      notes: repairs and other messages for the user.
      loudness: LUFS of the stored audio; None if too soft to measure.
      trimmed: seconds of silence removed at the start and at the end.
      fade_out: seconds of a long fade-out at the end, cut or not.
      dead_air: start and length in seconds of long silences, in the time of the source.
      sdr: SI-SDR in dB of the instrumental against the true one, before and after separation, if
        the latter is known.
    """

    name: str
    reason: str = ""
    array: str = ""
    fingerprint: str = ""
    content: str = ""
    samples: int = 0
    channels: int = 0
    artist: str = ""
    genre: str = ""
    bpm: float | None = None
    key: str | None = None
    notes: list[str] = field(default_factory=list)
    loudness: float | None = None
    trimmed: list[float] = field(default_factory=lambda: [0.0, 0.0])
    fade_out: float = 0.0
    dead_air: list[list[float]] = field(default_factory=list)
    sdr: dict[str, float] | None = None


def prepare_track(source: Source, separator: Separator, cache: str, rules: Rules) -> PreparedTrack:
    """Prepares one source, or reads the result from the cache.

    The fingerprint is that of the mix, without removed passages, so that it is the same for every
    separator. It identifies a song and its dub as near-duplicates.

    Args:
      cache: folder; the key of an entry is a hash of the content of the source and of the
        processing. Limits of length are not part of the key: they are checked afterwards.

    Raises:
      OSError: the cache cannot be written. Faults of the source are in the result's `reason`.
      ValueError: the separator cannot be used.
    """
    try:
        track = None if source.path else _house_track(source)
        content = _hash_file(source.path) if track is None else _hash_array(track.mix)
    except ValueError as error:
        return PreparedTrack(source.name, reason=str(error))
    process = [separator.method, separator.hash, rules.fades, rules.loudness]
    key = json.dumps([content, *process, audio.SAMPLE_RATE, VERSION])
    entry = Path(cache) / hashlib.sha256(key.encode()).hexdigest()[:32]
    prepared = _read_cached(entry, source.name)
    if prepared is None:
        prepared = _prepare_uncached(source, track, entry, separator, rules)
    prepared = replace(prepared, content=content)
    if prepared.reason:
        return prepared
    return replace(prepared, reason=rules.check_length(prepared.samples))


def _prepare_uncached(
    source: Source,
    track: "HouseTrack | None",
    entry: Path,
    separator: Separator,
    rules: Rules,
) -> PreparedTrack:
    """Prepares one source and writes it to the cache."""
    try:
        mix = audio.load_audio(source.path) if track is None else track.mix
        if reason := rules.check_length(len(mix)):  # before the separation, which is slow
            return PreparedTrack(source.name, reason, samples=len(mix), channels=mix.shape[1])
        mix, notes = repair_mix(mix)
    except ValueError as error:
        return PreparedTrack(source.name, reason=str(error))
    instrumental = separator(mix)
    if np.abs(instrumental).max() < SILENT:
        return PreparedTrack(source.name, reason="silent after vocal removal")
    survey = survey_sound(instrumental)
    pieces = survey.pieces(rules.fades)
    prepared = PreparedTrack(
        source.name,
        channels=mix.shape[1],
        samples=sum(stop - start for start, stop in pieces),
        trimmed=[_to_seconds(survey.start), _to_seconds(len(mix) - survey.stop)],
        fade_out=_to_seconds(survey.stop - survey.fade_out),
        dead_air=[[_to_seconds(start), _to_seconds(end - start)] for start, end in survey.dead_air],
        **(read_tags(source.path) if track is None else _house_facts(track, instrumental)),
    )
    notes += _describe_silence(prepared, rules.fades)
    if rules.fades == "drop" and (prepared.fade_out or prepared.dead_air):
        prepared = replace(prepared, reason=f"{notes[-1]}, and --fades=drop", notes=notes)
        _write_facts(entry, prepared)
        return prepared
    mono = cut_pieces(mix, pieces).mean(axis=1)
    instrumental = cut_pieces(instrumental, pieces)
    gain, loudness, gain_notes = loudness_gain(instrumental, rules.loudness)
    prepared = replace(
        prepared,
        array=f"{entry}.npy",
        fingerprint=f"{entry}.npz",
        notes=notes + gain_notes,
        loudness=None if loudness is None else round(loudness, 2),
    )
    samples = audio.to_int16(instrumental if gain == 1 else instrumental * gain)
    _write_cached(entry, prepared, fingerprint.extract_landmarks(mono), samples)
    return prepared


def _to_seconds(samples: int) -> float:
    return round(samples / audio.SAMPLE_RATE, 3)


def _describe_silence(prepared: PreparedTrack, fades: str) -> list[str]:
    """Describes trimmed silence, dead air and a fade-out in words."""
    suffix = ": cut" if fades == "cut" else ""
    notes = []
    if max(prepared.trimmed) > 0:
        start, end = prepared.trimmed
        notes.append(f"silence trimmed: {start:.1f} s at the start, {end:.1f} s at the end")
    for start, length in prepared.dead_air:
        notes.append(f"dead air of {length:.1f} s at {start:.1f} s{suffix}")
    if prepared.fade_out:
        notes.append(f"fade-out of {prepared.fade_out:.1f} s at the end{suffix}")
    return notes


def repair_mix(mix: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Removes faults: DC offset, anti-phase and equal channels.

    Args:
      mix: float32 [time, channels].

    Returns:
      The repaired track, and notes on the repairs.

    Raises:
      ValueError: the track is silent.
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
        rms = np.sqrt(np.mean(mix**2))
        if np.sqrt(np.mean(((left + right) / 2) ** 2)) < ANTI_PHASE * rms:
            mix = mix * np.array([1, -1], np.float32)
            notes.append("anti-phase: right channel inverted, so that the mono sum does not cancel")
    return mix, notes


def _house_track(source: Source) -> "HouseTrack":
    from jukejax.preparation import house

    return house.track(source.index, seconds=source.seconds, seed=source.seed)


def _house_facts(track: "HouseTrack", instrumental: np.ndarray) -> dict[str, Any]:
    return {
        "artist": track.artist,
        "genre": track.genre,
        "bpm": float(track.bpm),
        "key": track.key,
        "sdr": {
            "before": round(fidelity.si_sdr(track.mix, track.instrumental), 3),
            "after": round(fidelity.si_sdr(instrumental, track.instrumental), 3),
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


def _read_cached(entry: Path, name: str) -> PreparedTrack | None:
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


def _write_cached(
    entry: Path, prepared: PreparedTrack, landmarks: fingerprint.Landmarks, array: np.ndarray
) -> None:
    """Writes a cache entry; the file of facts is last and marks it as complete."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    # np.save does not report a full disk.
    files.write_buffer(entry.with_suffix(".npy"), header, array, shared=True)
    packed = io.BytesIO()
    landmarks.save(packed)
    files.write_buffer(entry.with_suffix(".npz"), packed, shared=True)
    _write_facts(entry, prepared)


def _write_facts(entry: Path, prepared: PreparedTrack) -> None:
    derived = ("name", "array", "fingerprint")
    facts = {key: value for key, value in asdict(prepared).items() if key not in derived}
    files.write_bytes(entry.with_suffix(".json"), json.dumps(facts).encode(), shared=True)
