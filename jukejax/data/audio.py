"""Sound in memory and in blocks: reading as mono or stereo, resampling, writing of WAV.

Functions that read a sound take a file, or a `Recording` in memory.

Arrays are NumPy, [time, channels].
"""

import contextlib
import io
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soundfile
import soxr

from jukejax.common import files
from jukejax.data import decoding
from jukejax.data.downmix import Downmix
from jukejax.data.repair import plan_repair
from jukejax.data.spool import Spool

SAMPLE_RATE = 44100
BLOCK = 1 << 20  # samples of a block
MAX_CHANNELS = 8  # of layouts without names, see `downmix`


class Samples(Protocol):
    """A sound that is read in sections: an array [time, channels], or one that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, section: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Sound:
    """A sound in memory.

    Attributes:
      samples: float32 [time, channels], 1 or 2 channels.
      notes: repairs and other messages for the user.
    """

    samples: np.ndarray
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording in memory, which is read like a file.

    Attributes:
      samples: float32 [time, channels]; [time] is taken as one channel.
      rate: samples per second.
    """

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples)
        if samples.dtype.kind != "f":
            raise ValueError(
                f"the audio is {samples.dtype}, and must be float in -1 to 1: divide integers of "
                "16 bits by 32768"
            )
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS or not len(samples):
            raise ValueError(
                f"the audio has the shape {list(np.shape(self.samples))}, and must be [samples] or "
                f"[samples, channels], with up to {MAX_CHANNELS} channels: transpose it, or take "
                "one of several recordings"
            )
        if not np.isfinite(samples).all():
            raise ValueError("the audio holds samples that are not numbers (NaN or infinite)")
        if self.rate not in range(decoding.RATES[0], decoding.RATES[1] + 1):
            lowest, highest = decoding.RATES
            raise ValueError(f"sample_rate={self.rate} must be {lowest} to {highest} Hz")
        object.__setattr__(self, "samples", samples.astype(np.float32, copy=False))

    def __str__(self) -> str:
        return f"the recording of {len(self.samples) / self.rate:.2f} s"

    @property
    def layout(self) -> tuple[str, ...]:
        """The names of the channels, which are not known."""
        return ("",) * self.samples.shape[1]

    @property
    def notes(self) -> list[str]:
        """Messages for the user: none."""
        return []

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all samples in order, float32 [time, channels]."""
        return iterate_blocks(self.samples)


Source = str | os.PathLike | Recording


class DecodedSound(Protocol):
    """The interface of a sound that is decoded block by block: a file or a recording."""

    @property
    def rate(self) -> int: ...

    @property
    def layout(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> list[str]: ...

    def blocks(self) -> Iterator[np.ndarray]: ...


def iterate_blocks(sound: Samples, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Yields the blocks of a sound in order."""
    for start in range(0, len(sound), size):
        yield sound[start : start + size]


def load_audio(
    source: Source,
    sample_rate: int = SAMPLE_RATE,
    *,
    max_seconds: float | None = None,
    repair: bool = True,
) -> Sound:
    """Reads a sound into memory; see `open_audio`."""
    with open_audio(source, sample_rate, max_seconds=max_seconds, repair=repair) as spool:
        return Sound(spool[:], spool.notes)


@contextlib.contextmanager
def open_audio(
    source: Source,
    sample_rate: int = SAMPLE_RATE,
    *,
    max_seconds: float | None = None,
    repair: bool = True,
) -> Iterator[Spool]:
    """Decodes, mixes down, resamples and repairs a sound, as a context manager.

    The sound lies in a temporary file (in TMPDIR): memory does not grow with its length.

    Args:
      max_seconds: the rest of the file is not decoded, nor checked; None: all is read.
      repair: removes faults of recordings, see `repair`. False for sound of our own making, whose
        faults are to be measured.

    Raises:
      ValueError: the file cannot be used; see `decoding`.
    """
    limit = None if max_seconds is None else math.ceil(max_seconds * sample_rate)
    with contextlib.ExitStack() as stack:
        stream = StereoStream(stack.enter_context(_open_source(source)), sample_rate)
        spool = Spool(tempfile.gettempdir(), stream.channels)
        stack.callback(spool.close)
        for block in stream.blocks():
            spool.append(block if limit is None else block[: limit - len(spool)])
            if len(spool) == limit:
                break
        spool.notes = [*stream.notes]
        if repair:
            try:
                spool.repair = plan_repair(spool.statistics)
            except ValueError as error:  # silent
                spool.notes.append(str(error))
            spool.notes += spool.repair.notes
        yield spool


def _open_source(source: Source) -> contextlib.AbstractContextManager[DecodedSound]:
    if isinstance(source, Recording):
        return contextlib.nullcontext(source)
    return decoding.open_sound(source)


class StereoStream:
    """Decodes a sound block by block: mixed down to 1 or 2 channels, and resampled.

    Attributes:
      channels: 1 or 2.
      notes: of the file and the downmix.
    """

    def __init__(self, file: DecodedSound, sample_rate: int = SAMPLE_RATE):
        """Chooses the downmix.

        Raises:
          ValueError: the layout of the channels is unknown.
        """
        self._file, self._sample_rate = file, sample_rate
        self._downmix = Downmix(file.layout)
        self.channels = self._downmix.channels
        self.notes = [*file.notes, self._downmix.note] if self._downmix.note else [*file.notes]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields float32 [time, channels]; see `SoundFile.blocks`."""
        mixed = map(self._downmix, self._file.blocks())
        return resample_blocks(mixed, self.channels, self._file.rate, self._sample_rate)


def resample_blocks(
    blocks: Iterator[np.ndarray], channels: int, rate: int, sample_rate: int
) -> Iterator[np.ndarray]:
    """Resamples blocks of a sound, float32 [time, channels] (soxr HQ, aliases at -135 dB).

    No block is empty, though the resampler holds the samples of short ones back.
    """
    if rate == sample_rate:
        yield from map(np.ascontiguousarray, blocks)
        return
    stream = soxr.ResampleStream(rate, sample_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        resampled = stream.resample_chunk(np.ascontiguousarray(block))
        if len(resampled):
            yield resampled
    rest = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
    if len(rest):
        yield rest


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Converts float in [-1, 1] to int16; exact for sources of 16 bits."""
    return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)


def to_float(audio: np.ndarray) -> np.ndarray:
    """Converts int16 to float32 in [-1, 1)."""
    return audio.astype(np.float32) / np.float32(32768)


def write_wav(path: str | os.PathLike, audio: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float:
    """Writes 16-bit PCM atomically.

    Args:
      audio: float [time] or [time, channels].

    Returns:
      The gain: 1.0, or less if the peak is above 1.0, so that no sample is clipped.

    Raises:
      ValueError: the audio holds NaN or infinite samples.
    """
    audio = np.asarray(audio, np.float32)
    if not np.isfinite(audio).all():
        raise ValueError(f"{path}: the audio to write holds NaN or infinite samples")
    peak = float(np.abs(audio).max(initial=0.0))
    gain = 1.0 if peak <= 1.0 else 1.0 / peak
    buffer = io.BytesIO()
    soundfile.write(buffer, to_int16(audio * gain), sample_rate, "PCM_16", format="WAV")
    files.write_buffer(path, buffer)
    return gain
