"""Checks of a stream of sound while it is decoded: damage that FFmpeg conceals."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from jukejax.data import containers
from jukejax.data.frames import pack_samples
from jukejax.data.mpeg_frames import FrameChain

if TYPE_CHECKING:
    import av

_MPEG_FRAMES = ("mp3", "aac")  # demuxers of a bare sequence of frames
_EXACT_LENGTH = ("aiff", "au", "caf", "tta", "wv")
_ZERO_PACKET = 16  # bytes: compressed packets of this size that are all zero are holes


@dataclass(frozen=True)
class StreamInfo:
    """A stream of sound.

    Attributes:
      file: the file, for reading.
      format, codec: FFmpeg's names of the demuxer and the codec.
      rate: samples per second.
      layout: FFmpeg's names of the channels; empty ones without names.
      seconds: length that the container declares; None if it declares none.
      flac: bits per sample, number of samples and MD5 of a FLAC file; None for others.
    """

    file: BinaryIO
    format: str
    codec: str
    rate: int
    layout: tuple[str, ...]
    seconds: float | None
    flac: tuple[int, int, bytes] | None


class StreamChecks:
    """Checks packets and frames of a stream as they are decoded; the messages have the place."""

    def __init__(self, stream: StreamInfo):
        self._stream = stream
        self._first_time: float | None = None  # of the presentation, minus that of the samples
        self._end = 0  # byte after the last packet
        self._frame_samples = 0
        self._chain = None
        if stream.format in _MPEG_FRAMES:
            self._chain = FrameChain(stream.file)
        flac = stream.flac
        self._md5 = hashlib.md5(usedforsecurity=False) if flac and any(flac[2]) else None

    def check_packet(self, packet: "av.Packet", samples: int) -> None:
        """Checks the position of a packet, and that it is not a hole."""
        if not packet.size:
            return
        seconds = samples / self._stream.rate
        if packet.pos is not None and packet.pos >= 0:
            self._end = max(self._end, packet.pos + packet.size)
        if self._chain is not None:
            self._chain.add(packet.pos, packet.size, seconds)
            if self._stream.format == "mp3":
                self._chain.check_size(bytes(packet))
        raw = self._stream.codec.startswith(("pcm_", "dsd_", "adpcm"))
        if not raw and packet.size >= _ZERO_PACKET and not any(memoryview(packet)):
            raise ValueError(f"damaged at {seconds:.1f} s: a hole of zeros")

    def decode(self, packet: "av.Packet") -> list["av.AudioFrame"]:
        """Decodes a packet; none if it is a tag between two joined files."""
        import av

        try:
            return cast("list[av.AudioFrame]", packet.decode())
        except av.error.InvalidDataError:
            if self._chain is None or not self._chain.is_tag(packet.pos, bytes(packet)):
                raise
            self._first_time = None  # the dropped frame is no hole
            return []

    def check_frame(self, frame: "av.AudioFrame", samples: int) -> None:
        """Checks that a frame has the format of the others, and that none is missing before it."""
        stream = self._stream
        seconds = samples / stream.rate
        if frame.sample_rate != stream.rate:
            raise ValueError(
                f"the sample rate changes from {stream.rate} to {frame.sample_rate} Hz at "
                f"{seconds:.1f} s"
            )
        if frame.layout.nb_channels != len(stream.layout):
            raise ValueError(f"the number of channels changes at {seconds:.1f} s")
        self._frame_samples = max(self._frame_samples, frame.samples)
        if self._md5 is not None and stream.flac is not None:
            self._md5.update(pack_samples(frame, stream.flac[0]))
        if frame.time is not None:
            offset = frame.time - seconds
            if self._first_time is None or offset < self._first_time:
                self._first_time = offset
            missing = offset - self._first_time
            if missing > containers.MISSING_SECONDS:
                raise ValueError(f"damaged: {missing:.1f} s are missing at {seconds:.1f} s")

    def finish(self, samples: int) -> None:
        """Checks the length and the end of the file."""
        stream = self._stream
        missing = 0.0
        if stream.seconds is not None:
            missing = stream.seconds * stream.rate - samples
        allowed = containers.MISSING_SECONDS * stream.rate + 2 * self._frame_samples
        if missing > (0 if stream.flac else allowed):
            raise ValueError(containers.describe_missing(samples, samples + missing, stream.rate))
        if self._md5 is not None and stream.flac and self._md5.digest() != stream.flac[2]:
            raise ValueError("damaged: its sound is not that of its checksum (FLAC MD5)")
        if missing < -allowed and stream.format in _EXACT_LENGTH:
            raise ValueError("damaged: it holds more than it declares, such as a second file")
        if self._chain is not None:
            self._chain.finish(samples / stream.rate)
        if self._end:
            containers.check_single(stream.file, stream.format, self._end)
