"""A track that can be heard while it is made: one WAV that grows, and gets finer level by level.

The file may be played or read at any moment: its header never promises more than is there. While
the top level is drawn it grows at its end. When a finer level comes, its sound takes the place of
the coarser one from the start on, with a short crossfade at the tip. What later codes could still
change is held back, so that nothing that was heard is drawn differently afterwards. In the end the
file is the sound of the finest level.

Samples are 32-bit float: loudness cannot be known before the end, and nothing is ever clipped.
"""

import struct
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.inference.codec import Codec

CROSSFADE_SECONDS = 0.01
_SAMPLE = np.dtype("<f4")
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sII4sI")


def header(frames: int, sample_rate: int) -> bytes:
    """Of a mono WAV of 32-bit floats (format 3), with the `fact` chunk that such a file needs."""
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
        """A new file at `path` for a track of so many samples; it appears with the first sound."""
        self._path, self._codec = path, codec
        self._sound = np.zeros(samples, np.float32)
        self._level, self._settled = len(codec.config.hops), 0
        self._tail = np.zeros(0, np.float32)  # of the finer sound, before the crossfade
        self._fade = round(CROSSFADE_SECONDS * codec.sample_rate)
        self.frames = 0

    def grow(self, level: int, codes: np.ndarray) -> None:
        """Takes in what is there of a level, int [t]: the codes known before and more of them."""
        self._enter(level)
        hop = self._codec.config.hops[level]
        end = len(codes) - self._codec.margin(level)
        if end * hop > self._settled:
            begin = self._settled // hop
            self._put(self._codec.decode_part(codes, level, begin, end)[:, 0])

    def finish(self, level: int, sound: np.ndarray) -> None:
        """Takes in the whole sound of a level, float32 [samples]."""
        self._enter(level)
        self._settled, self._tail = 0, self._tail[:0]
        self._put(sound)

    def _enter(self, level: int) -> None:
        if level != self._level:
            self._level, self._settled, self._tail = level, 0, self._tail[:0]

    def _put(self, piece: np.ndarray) -> None:
        """Writes what follows the settled part, and over its end, which was faded out."""
        begin, end = self._settled - len(self._tail), self._settled + len(piece)
        piece = np.concatenate([self._tail, piece])
        self._tail = piece[max(len(piece) - self._fade, 0) :].copy()
        if end < self.frames:  # coarser sound follows
            ramp = np.linspace(0, 1, len(self._tail) + 2, dtype=np.float32)[1:-1]
            coarse = self._sound[end - len(self._tail) : end]
            piece[len(piece) - len(self._tail) :] = self._tail + ramp * (coarse - self._tail)
        self._sound[begin:end] = piece
        self._settled = end
        self._write(begin, end)

    def _write(self, begin: int, end: int) -> None:
        """Brings samples `begin` to `end` to the file: first the sound, then what it promises."""
        fresh = self.frames == 0
        self.frames = max(self.frames, end)
        if fresh:
            files.write_bytes(self._path, header(0, self._codec.sample_rate))
        with open(self._path, "r+b") as file:
            file.seek(_HEADER.size + begin * _SAMPLE.itemsize)
            file.write(self._sound[begin:end].astype(_SAMPLE).tobytes())
            file.flush()
            file.seek(0)
            file.write(header(self.frames, self._codec.sample_rate))
