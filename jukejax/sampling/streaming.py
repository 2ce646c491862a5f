"""A track that can be played while it is sampled: one WAV that grows and gets finer by level.

The file may be played or read at any moment: its header never promises more than there is. While
the top level is sampled the file grows at its end. The sound of a finer level replaces that of the
coarser one from the start on, with a short crossfade at its end. Sound that later codes can still
change is held back, so that nothing that was played is changed afterwards. In the end the file is
the sound of the finest level.

Samples are 32-bit float: loudness cannot be known before the end, and nothing is ever clipped.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.inference.codec import Codec

CROSSFADE_SECONDS = 0.01
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
    """The growing sound of one item.

    Attributes:
      frames: samples in the file so far.
    """

    def __init__(self, path: Path, codec: Codec, samples: int):
        """Prepares a stream for a track of `samples`; the file appears with the first sound."""
        self._path, self._codec = path, codec
        self._sound = np.zeros(samples, np.float32)
        self._level, self._settled = len(codec.config.hops), 0
        self._tail = np.zeros(0, np.float32)  # of the finer sound, before the crossfade
        self._fade = round(CROSSFADE_SECONDS * codec.sample_rate)
        self.frames = 0

    def grow(self, level: int, codes: np.ndarray) -> None:
        """Decodes the codes of a level so far, int [t]: those of the last call and more."""
        self._enter_level(level)
        hop = self._codec.config.hops[level]
        end = len(codes) - self._codec.margin(level)
        if end * hop > self._settled:
            begin = self._settled // hop
            self._append(self._codec.decode_range(codes, level, begin, end)[:, 0])

    def finish(self, level: int, sound: np.ndarray) -> None:
        """Replaces the stream by the whole sound of a level, float32 [samples]."""
        self._enter_level(level)
        self._settled, self._tail = 0, self._tail[:0]
        self._append(sound)

    def _enter_level(self, level: int) -> None:
        if level != self._level:
            self._level, self._settled, self._tail = level, 0, self._tail[:0]

    def _append(self, sound: np.ndarray) -> None:
        """Writes the sound behind the settled part, and over its end, which was faded out."""
        begin, end = self._settled - len(self._tail), self._settled + len(sound)
        sound = np.concatenate([self._tail, sound])
        self._tail = sound[max(len(sound) - self._fade, 0) :].copy()
        if end < self.frames:  # coarser sound follows
            ramp = np.linspace(0, 1, len(self._tail) + 2, dtype=np.float32)[1:-1]
            coarse = self._sound[end - len(self._tail) : end]
            sound[len(sound) - len(self._tail) :] = self._tail + ramp * (coarse - self._tail)
        self._sound[begin:end] = sound
        self._settled = end
        self._write(begin, end)

    def _write(self, begin: int, end: int) -> None:
        """Writes samples `begin` to `end` to the file: first the sound, then the header."""
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


def find_stream_targets(begin: int, first: int, seq_len: int, total: int) -> list[int]:
    """Returns the numbers of codes after which a stream grows; `total` is the last.

    Sampling the first window in parts, each as long as all before it, gives sound early and changes
    no code: a part is conditioned as the whole window would be.

    Args:
      begin: codes that are fixed.
      first: codes until the first sound.
      seq_len: codes of a window.
      total: codes of the track.
    """
    targets = []
    while begin + first < min(seq_len, total):
        targets.append(begin + first)
        first *= 2
    return [*targets, total]


class StreamGroup:
    """The streams of all items of a sample folder."""

    def __init__(self, paths: Sequence[Path], codec: Codec, samples: int):
        """Prepares a stream at each of `paths`, for tracks of `samples`."""
        self._codec = codec
        self._streams = [Stream(path, codec, samples) for path in paths]

    @property
    def frames(self) -> int:
        """Samples that all streams have."""
        return min(stream.frames for stream in self._streams)

    def grow(self, level: int, codes: np.ndarray) -> None:
        """Grows each stream by the codes of a level so far, int [B, t]."""
        for stream, row in zip(self._streams, codes, strict=True):
            stream.grow(level, row)

    def finish(self, level: int, sounds: Sequence[np.ndarray]) -> None:
        """Replaces each stream by the whole sound of a level, float32 [samples, 1]."""
        for stream, sound in zip(self._streams, sounds, strict=True):
            stream.finish(level, sound[:, 0])
