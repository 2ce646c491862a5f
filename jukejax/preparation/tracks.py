"""One source, a file or a track of the house corpus, made ready for a shard, once.

`make` is the whole of the work on a track: decode, mend, separate, trim, take its fingerprint, to
16 bits, into the cache. It depends on nothing but its arguments, so that any process on any machine
may run it.
"""

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jukejax.analysis import fidelity, fingerprint
from jukejax.common import files
from jukejax.data import audio
from jukejax.preparation.rules import Rules, keep_pieces, loudness_gain, survey

if TYPE_CHECKING:
    from jukejax.preparation.house import HouseTrack

VERSION = 2  # of this file's processing; a change makes cached tracks stale
SILENT = 1e-3  # peak, -60 dB
DC = 0.005  # offsets above this are removed
ANTI_PHASE = 0.1  # of the channels' loudness: what is left of an anti-phase track in mono


class Separator(Protocol):
    """What takes the singer out: float32 [time, channels] to the same; see `separation`."""

    method: str
    hash: str

    def __call__(self, mix: np.ndarray) -> np.ndarray: ...


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
      fingerprint: file in the cache with its `fingerprint.Landmarks`.
      content: sha256 of the source.
      notes: what had to be mended, and what is odd about it.
      loudness: LUFS of what is stored; None if it is too soft to say.
      trimmed: seconds of silence taken away at the start and at the end.
      fade_out: seconds that a long fade-out at the end lasts, whether it was cut or not.
      dead_air: start and length in seconds of long silences, in the time of the source.
      sdr: SI-SDR in dB of the instrumental against the truth, before and after separation, where
        the truth is known.
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


def make(source: Source, separator: Separator, cache: str, rules: Rules) -> Made:
    """Prepares one source, or finds it in the cache.

    The fingerprint is that of the mix, the same whatever the separator, of the part that is kept.
    A song and its dub have enough in common to be found by it.

    Args:
      cache: folder; entries are keyed by the content of the source and by the processing. Limits of
        length are not part of the key: to change them costs nothing.

    Raises:
      OSError: if the cache cannot be written; what is wrong with the source is in the result.
      ValueError: if the separator cannot work.
    """
    try:
        track = None if source.path else _house_track(source)
        content = _hash_file(source.path) if track is None else _hash_array(track.mix)
    except ValueError as error:
        return Made(source.name, reason=str(error))
    process = [separator.method, separator.hash, rules.fades, rules.loudness]
    key = json.dumps([content, *process, audio.SAMPLE_RATE, VERSION])
    entry = Path(cache) / hashlib.sha256(key.encode()).hexdigest()[:32]
    made = _cached(entry, source.name) or _make(source, track, entry, separator, rules)
    made = replace(made, content=content)
    return made if made.reason else replace(made, reason=rules.check_length(made.samples))


def _make(
    source: Source,
    track: "HouseTrack | None",
    entry: Path,
    separator: Separator,
    rules: Rules,
) -> Made:
    """Prepares one source and puts it into the cache."""
    try:
        mix = audio.load(source.path) if track is None else track.mix
        if reason := rules.check_length(len(mix)):  # before the work
            return Made(source.name, reason, samples=len(mix), channels=mix.shape[1])
        mix, notes = mend(mix)
    except ValueError as error:
        return Made(source.name, reason=str(error))
    instrumental = separator(mix)
    if np.abs(instrumental).max() < SILENT:
        return Made(source.name, reason="silent once the voice is taken out")
    found = survey(instrumental)
    pieces = found.pieces(rules.fades)
    facts = _tags(source.path) if track is None else _house_facts(track, instrumental)
    made = Made(
        source.name,
        channels=mix.shape[1],
        samples=sum(stop - start for start, stop in pieces),
        trimmed=[_seconds(found.start), _seconds(len(mix) - found.stop)],
        fade_out=_seconds(found.stop - found.fade_out),
        dead_air=[[_seconds(start), _seconds(stop - start)] for start, stop in found.dead_air],
        **facts,
    )
    notes += _remarks(made, rules.fades)
    if rules.fades == "drop" and (made.fade_out or made.dead_air):
        made = replace(made, reason=f"{notes[-1]}, and --fades=drop", notes=notes)
        _save_facts(entry, made)
        return made
    mono = keep_pieces(mix, pieces).mean(axis=1)
    instrumental = keep_pieces(instrumental, pieces)
    gain, loudness, more = loudness_gain(instrumental, rules.loudness)
    made = replace(
        made,
        array=f"{entry}.npy",
        fingerprint=f"{entry}.npz",
        notes=notes + more,
        loudness=None if loudness is None else round(loudness, 2),
    )
    sound = audio.to_int16(instrumental if gain == 1 else instrumental * gain)
    _save(entry, made, fingerprint.landmarks(mono), sound)
    return made


def _seconds(samples: int) -> float:
    return round(samples / audio.SAMPLE_RATE, 3)


def _remarks(made: Made, fades: str) -> list[str]:
    """Silence, dead air and a fade-out in words."""
    done = {"keep": "", "cut": ": cut", "drop": ""}[fades]
    said = []
    if max(made.trimmed) > 0:
        start, end = made.trimmed
        said.append(f"silence trimmed: {start:.1f} s at the start, {end:.1f} s at the end")
    for start, length in made.dead_air:
        said.append(f"dead air of {length:.1f} s at {start:.1f} s{done}")
    if made.fade_out:
        said.append(f"fade-out of {made.fade_out:.1f} s at the end{done}")
    return said


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
    from jukejax.preparation import house

    return house.track(source.index, seconds=source.seconds, seed=source.seed)


def _house_facts(track: "HouseTrack", instrumental: np.ndarray) -> dict:
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
    """What was made of the source before; an entry may say only why it cannot be used."""
    try:
        made = Made(**json.loads(entry.with_suffix(".json").read_text()) | {"name": name})
        if made.reason:
            return made
        made = replace(made, array=f"{entry}.npy", fingerprint=f"{entry}.npz")
        shape = np.load(made.array, mmap_mode="r").shape
        whole = shape == (made.samples, made.channels) and os.path.exists(made.fingerprint)
    except (OSError, ValueError, TypeError):
        return None
    return made if whole else None


def _save(entry: Path, made: Made, marks: fingerprint.Landmarks, array: np.ndarray) -> None:
    """The arrays first, then the facts: an entry with facts is whole."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    # Not np.save, which hides a full disk.
    files.write_bytes(entry.with_suffix(".npy"), header.getbuffer(), array, shared=True)
    packed = io.BytesIO()
    marks.save(packed)
    files.write_bytes(entry.with_suffix(".npz"), packed.getbuffer(), shared=True)
    _save_facts(entry, made)


def _save_facts(entry: Path, made: Made) -> None:
    own = ("name", "array", "fingerprint")
    facts = {key: value for key, value in asdict(made).items() if key not in own}
    files.write_bytes(entry.with_suffix(".json"), json.dumps(facts).encode(), shared=True)
