"""A WAV file for playback while its track is sampled.

The file is valid at any moment: its header never declares more samples than exist. While the top
level is sampled, samples are appended. The audio of a finer level replaces that of the coarser
level from the start on, with a short crossfade at its end. Audio that depends on later codes is not
written, so that written audio of a level never changes until the level is finished. The final
content is the audio of the finest level, filtered where the model does so
(`matched_decoding.decode_level`).

Samples are 32-bit floats, as the peak is unknown before the end, and must not be clipped.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.inference.codec import Codec
from jukejax.inference.loaded_model import Model

CROSSFADE_SECONDS = 0.01
FIRST_AUDIO_SECONDS = 1.0
_SAMPLE = np.dtype("<f4")
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sII4sI")


def format_header(frames: int, sample_rate: int) -> bytes:
    """Returns the header of a mono WAV of 32-bit floats (format 3), with its `fact` chunk."""
    size = frames * _SAMPLE.itemsize
    form = (16, 3, 1, sample_rate, sample_rate * _SAMPLE.itemsize, _SAMPLE.itemsize, 32)
    riff = _HEADER.size - 8 + size
    return _HEADER.pack(
        b"RIFF", riff, b"WAVE", b"fmt ", *form, b"fact", 4, frames, b"data", size
    )  # fmt: skip


class Stream:
    """Writes the stream of one item.

    Attributes:
      frames: samples in the file so far.
    """

    def __init__(self, path: Path, codec: Codec, samples: int):
        """Prepares a stream for a track of `samples`; the first audio creates the file."""
        self._path, self._codec = path, codec
        self._sound = np.zeros(samples, np.float32)
        self._level, self._settled = len(codec.config.hops), 0
        self._tail = np.zeros(0, np.float32)  # samples of the finer level, before the crossfade
        self._fade = round(CROSSFADE_SECONDS * codec.sample_rate)
        self.frames = 0

    def grow(self, level: int, codes: np.ndarray) -> None:
        """Decodes the codes of a level so far, int [t], which extend those of the previous call."""
        self._enter_level(level)
        hop = self._codec.config.hops[level]
        end = len(codes) - self._codec.margin(level)
        if end * hop > self._settled:
            begin = self._settled // hop
            self._append(self._codec.decode_range(codes, level, begin, end)[:, 0])

    def finish(self, level: int, sound: np.ndarray) -> None:
        """Replaces the stream by the audio of a finished level, float32 [samples]."""
        self._enter_level(level)
        self._settled, self._tail = 0, self._tail[:0]
        self._append(sound)

    def _enter_level(self, level: int) -> None:
        if level != self._level:
            self._level, self._settled, self._tail = level, 0, self._tail[:0]

    def _append(self, sound: np.ndarray) -> None:
        """Appends audio to the samples of this level, and overwrites the crossfade at their end."""
        begin, end = self._settled - len(self._tail), self._settled + len(sound)
        sound = np.concatenate([self._tail, sound])
        self._tail = sound[max(len(sound) - self._fade, 0) :].copy()
        if end < self.frames:  # audio of the coarser level follows
            ramp = np.linspace(0, 1, len(self._tail) + 2, dtype=np.float32)[1:-1]
            coarse = self._sound[end - len(self._tail) : end]
            sound[len(sound) - len(self._tail) :] = self._tail + ramp * (coarse - self._tail)
        self._sound[begin:end] = sound
        self._settled = end
        self._write(begin, end)

    def _write(self, begin: int, end: int) -> None:
        """Writes samples `begin` to `end` to the file: first the samples, then the header."""
        is_new = self.frames == 0
        self.frames = max(self.frames, end)
        if is_new:
            files.write_bytes(self._path, format_header(0, self._codec.sample_rate))
        with open(self._path, "r+b") as file:
            file.seek(_HEADER.size + begin * _SAMPLE.itemsize)
            file.write(self._sound[begin:end].astype(_SAMPLE).tobytes())
            file.flush()
            file.seek(0)
            file.write(format_header(self.frames, self._codec.sample_rate))


def count_first_codes(model: Model, level: int) -> int:
    """Returns the number of codes for the first `FIRST_AUDIO_SECONDS` of audio."""
    codes = math.ceil(FIRST_AUDIO_SECONDS * model.sample_rate / model.hops[level])
    return codes + model.codec.margin(level)


def find_stream_targets(begin: int, first: int, seq_len: int, total: int) -> list[int]:
    """Returns the numbers of codes at which a stream is extended; `total` is the last.

    The first window is sampled in steps that double the number of codes, for early audio. This does
    not change the codes: each step has the conditions of the whole window.

    Args:
      begin: number of fixed codes.
      first: number of codes for the first audio.
      seq_len: codes of a window.
      total: codes of the track.
    """
    targets = []
    while begin + first < min(seq_len, total):
        targets.append(begin + first)
        first *= 2
    return [*targets, total]


class StreamGroup:
    """Writes the streams of all items of a sample folder."""

    def __init__(self, paths: Sequence[Path], codec: Codec, samples: int):
        """Prepares a stream at each of `paths`, for tracks of `samples`."""
        self._codec = codec
        self._streams = [Stream(path, codec, samples) for path in paths]

    @property
    def frames(self) -> int:
        """The least number of samples of the streams."""
        return min(stream.frames for stream in self._streams)

    def grow(self, level: int, codes: np.ndarray) -> None:
        """Extends each stream by the codes of a level so far, int [B, t]."""
        for stream, row in zip(self._streams, codes, strict=True):
            stream.grow(level, row)

    def finish(self, level: int, sounds: Sequence[np.ndarray]) -> None:
        """Replaces each stream by the audio of a finished level, float32 [samples, 1]."""
        for stream, sound in zip(self._streams, sounds, strict=True):
            stream.finish(level, sound[:, 0])
