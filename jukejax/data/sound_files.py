"""Writing of sound files in the formats that musicians use, with tags.

WAV and FLAC are exact to the last bit; MP3 and Ogg Vorbis are lossy. The same samples and tags give
the same bytes. Files are written by libsndfile, tags by mutagen: ID3 in WAV and MP3, Vorbis
comments in FLAC and Ogg.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mutagen
import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.ogg
import mutagen.oggvorbis
import mutagen.wave
import numpy as np
import soundfile

from jukejax.common import files
from jukejax.data.audio import SAMPLE_RATE, iterate_blocks, to_int16

FORMATS = ("wav", "flac", "mp3", "ogg")
LOSSLESS = ("wav", "flac")
BITS = (16, 24)
_SUBTYPES = {"mp3": "MPEG_LAYER_III", "ogg": "VORBIS"}
# Of 0 (largest file) to 1: LAME's variable rate V0, and Vorbis' quality 8 of 10.
_COMPRESSION = {"mp3": 0.0, "ogg": 0.2}
_BLOCK = 1 << 14  # samples; libvorbis takes a block of any size on the stack
_STREAM_SERIAL = 1  # of an Ogg file; libsndfile's is random


@dataclass(frozen=True)
class FileFormat:
    """The format of a sound file.

    Attributes:
      name: one of `FORMATS`; also the suffix of the file.
      bits: of a sample, one of `BITS`; lossy formats have none, and take 16.
    """

    name: str = "wav"
    bits: int = 16

    def __post_init__(self) -> None:
        if self.name not in FORMATS:
            raise ValueError(f"--format={self.name} is unknown; there are {', '.join(FORMATS)}")
        if self.bits not in BITS:
            raise ValueError(f"--bits={self.bits} must be 16 or 24")
        if self.bits != 16 and not self.is_lossless:
            raise ValueError(
                f"--bits={self.bits} is for {' and '.join(LOSSLESS)}; --format={self.name} stores "
                "no bits of samples"
            )

    @property
    def is_lossless(self) -> bool:
        """Returns true if the samples of a file are those that were written."""
        return self.name in LOSSLESS


@dataclass(frozen=True)
class Tags:
    """The tags of a sound file.

    Attributes:
      title, artist, comment, encoder, genre: texts; "" for none.
      bpm: beats a minute; None if unknown.
      key: such as "F#m", at most three letters, as ID3 has them; "" if unknown.
      extra: further texts by name, such as {"seed": "0"}.
    """

    title: str = ""
    artist: str = ""
    comment: str = ""
    encoder: str = ""
    genre: str = ""
    bpm: float | None = None
    key: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def write_sound(
    path: str | os.PathLike,
    sound: np.ndarray,
    file_format: FileFormat,
    tags: Tags,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Writes a sound file atomically.

    Args:
      sound: float [time, channels] in [-1, 1]; samples beyond are clipped in lossless formats.

    Raises:
      ValueError: the sound holds NaN or infinite samples.
    """
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the audio to write holds NaN or infinite samples")
    buffer = _encode(np.asarray(sound, np.float32), file_format, sample_rate)
    _write_tags(buffer, file_format.name, tags)
    if file_format.name == "ogg":
        buffer = _set_serial(buffer)
    files.write_buffer(path, buffer)


def _encode(sound: np.ndarray, file_format: FileFormat, sample_rate: int) -> io.BytesIO:
    """Encodes float32 [time, channels]."""
    name = file_format.name
    options: dict[str, Any] = {}
    if not file_format.is_lossless:
        options = {"compression_level": _COMPRESSION[name]}
    if name == "mp3":
        options["bitrate_mode"] = "VARIABLE"
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        sample_rate,
        sound.shape[1],
        _SUBTYPES.get(name, f"PCM_{file_format.bits}"),
        format=name.upper(),
        **options,
    ) as file:
        for block in iterate_blocks(sound, _BLOCK):
            file.write(_quantize(block, file_format))
    return buffer


def _quantize(block: np.ndarray, file_format: FileFormat) -> np.ndarray:
    if not file_format.is_lossless:
        return block
    return to_int16(block) if file_format.bits == 16 else to_int24(block)


def to_int24(audio: np.ndarray) -> np.ndarray:
    """Converts float in [-1, 1] to the upper 24 bits of int32."""
    samples = np.clip(np.round(np.asarray(audio, np.float64) * 2**23), -(2**23), 2**23 - 1)
    return samples.astype(np.int32) << 8


def _write_tags(buffer: io.BytesIO, name: str, tags: Tags) -> None:
    buffer.seek(0)
    file: mutagen.FileType
    if name in ("flac", "ogg"):
        file = (mutagen.flac.FLAC if name == "flac" else mutagen.oggvorbis.OggVorbis)(buffer)
        file.update(_make_vorbis_comments(tags))
    else:
        file = (mutagen.mp3.MP3 if name == "mp3" else mutagen.wave.WAVE)(buffer)
        if file.tags is None:
            file.add_tags()
        assert file.tags is not None
        for frame in _make_id3_frames(tags):
            file.tags.add(frame)
    buffer.seek(0)
    file.save(buffer)


def _make_vorbis_comments(tags: Tags) -> dict[str, str]:
    comments = {
        "title": tags.title,
        "artist": tags.artist,
        "comment": tags.comment,
        "encoded-by": tags.encoder,
        "genre": tags.genre,
        "bpm": format_bpm(tags.bpm),
        "initialkey": tags.key,
    }
    return {name: value for name, value in (comments | dict(tags.extra)).items() if value}


def _make_id3_frames(tags: Tags) -> list[mutagen.id3.Frame]:
    texts = {
        "TIT2": tags.title,
        "TPE1": tags.artist,
        "TENC": tags.encoder,
        "TCON": tags.genre,
        "TBPM": format_bpm(tags.bpm),
        "TKEY": tags.key,
    }
    frames = [
        getattr(mutagen.id3, name)(encoding=mutagen.id3.Encoding.UTF8, text=[text])
        for name, text in texts.items()
        if text
    ]
    if tags.comment:
        frames.append(
            mutagen.id3.COMM(encoding=mutagen.id3.Encoding.UTF8, lang="eng", text=[tags.comment])
        )
    frames += [
        mutagen.id3.TXXX(encoding=mutagen.id3.Encoding.UTF8, desc=name, text=[text])
        for name, text in tags.extra.items()
        if text
    ]
    return frames


def format_bpm(bpm: float | None) -> str:
    """Formats a tempo with at most two decimals; "" if it is unknown."""
    return "" if bpm is None else f"{bpm:.2f}".rstrip("0").rstrip(".")


def _set_serial(buffer: io.BytesIO) -> io.BytesIO:
    """Copies an Ogg file with the serial number `_STREAM_SERIAL` in all of its pages."""
    buffer.seek(0)
    copy = io.BytesIO()
    while True:
        try:
            page = mutagen.ogg.OggPage(buffer)
        except EOFError:
            return copy
        page.serial = _STREAM_SERIAL
        copy.write(page.write())
