"""Decoding of sound files by FFmpeg (PyAV) in blocks, with proof that the file is whole.

A file is decoded from its start to its end, once; every format by the same library, so that
lengths are FFmpeg's to the sample. FFmpeg's resampler and its downmix are not used.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from jukejax.common import files
from jukejax.data import containers
from jukejax.data.frames import frame_to_float
from jukejax.data.mpeg_frames import read_xing_frames
from jukejax.data.stream_checks import StreamChecks, StreamInfo

if TYPE_CHECKING:
    import av

EXTENSIONS = frozenset(
    {".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
    | {".flac", ".wv", ".ape", ".tta", ".tak", ".dsf", ".dff"}
    | {".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mpga", ".mpc", ".aac", ".ac3", ".eac3"}
    | {".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".webm", ".mka", ".mkv", ".wma", ".asf", ".dts"}
)
# Only these demuxers of FFmpeg: no playlists, which name other files, and no raw formats, which
# take any file.
_DEMUXERS = (
    "aac,ac3,aiff,ape,asf,au,caf,dsf,dts,eac3,flac,iff,matroska,mov,mp3,mpc,mpc8,ogg,tak,tta,w64,"
    "wav,wv"
)
_NO_DURATION = ("aac", "mp3", "ogg", "flac", "ac3", "eac3", "dts")  # estimated by FFmpeg
_LOSSLESS = ("flac", "alac", "wavpack", "ape", "tta", "tak")
_TEXT = frozenset(b"\t\n\r\f") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))
_BLOCK_SECONDS = 4.0  # length of the blocks of `SoundFile.blocks`
# Floats of damaged files have any exponent. Samples above _LOUD, which no mix reaches, are compared
# with those around them: whole numbers that were stored as floats are as large, but all of them.
_LOUD, _LARGEST = 8.0, 2.0**31
_SPIKE, _SPIKE_SHARE = 100.0, 1e-3  # ratio of a spike to its block, largest share of spikes in it
RATES = (2000, 3_000_000)  # Hz; DSD at 512 times 44.1 kHz is decoded at 2.8 MHz


class SoundFile:
    """A sound file that is open for decoding; see `open_sound`.

    Attributes:
      tags: of the container and the stream, by their names in lower case; bytes that are not UTF-8
        as surrogates.
      notes: what a user should know, such as other streams that are not used.
    """

    def __init__(
        self,
        container: "av.container.InputContainer",
        file: BinaryIO,
        *,
        ignores_length: bool,
        identify: bool,
    ):
        """Selects the stream; see `open_sound`.

        Args:
          ignores_length: FFmpeg ignores the declared length.

        Raises:
          ValueError: there is no stream of sound that can be decoded, or its header is broken.
        """
        index = getattr(container.streams.best("audio"), "index", None)
        if index is None:
            raise ValueError("no audio stream in it")
        stream = next(s for s in container.streams.audio if s.index == index)
        if stream.codec_context is None:  # PyAV's stream then has no attributes
            raise ValueError("no decoder for its codec")
        self._container, self._stream = container, stream
        self._info = _describe_stream(container, stream, file, ignores_length)
        codec = stream.codec_context
        codec.thread_count = 1
        if codec.name in _LOSSLESS:
            codec.options = {"err_detect": "crccheck+explode"}
        tags = {**container.metadata, **stream.metadata}
        self.tags = {name.lower(): value for name, value in tags.items()}
        self.notes: list[str] = []
        if (count := len(container.streams.audio)) > 1:
            self.notes.append(f"{count} audio streams: number {index} is used")
        if ignores_length:
            self.notes.append("the WAV header declares less than the file holds: all of it is read")
        self._hash = hashlib.sha256(f"{self.rate} {len(self.layout)}".encode())
        self._identifies = identify
        self._is_lossless = codec.name in _LOSSLESS or codec.name.startswith("pcm_")

    @property
    def rate(self) -> int:
        """Returns the samples per second."""
        return self._info.rate

    @property
    def layout(self) -> tuple[str, ...]:
        """Returns FFmpeg's names of the channels, ("FL", "FR"); empty if the file has none."""
        return self._info.layout

    @property
    def seconds(self) -> float | None:
        """Returns the length that the container declares; None if it declares none."""
        return self._info.seconds

    @property
    def content(self) -> str:
        """Returns the sha256 of the sound without its tags, after `blocks` has ended.

        That of the samples of lossless formats: equal for a WAV file and its FLAC file. That of the
        packets of other formats, whose samples may differ by the machine in the last bit.
        """
        assert self._identifies, "the file was opened without identify=True"
        return self._hash.hexdigest()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all samples in order, float32 [time, channels], about four seconds at a time.

        Samples of lossy formats may exceed 1.0.

        Raises:
          ValueError: the file is truncated, damaged, or holds NaN; the message has the place.
        """
        checks = StreamChecks(self._info)
        pending: list[np.ndarray] = []
        count = total = 0
        for frame in self._decode(checks):
            samples = frame_to_float(frame)
            if not np.isfinite(samples).all():
                raise ValueError("holds samples that are not numbers (NaN or infinite)")
            if self._identifies and self._is_lossless:
                self._hash.update(np.ascontiguousarray(samples, "<f4").data)
            pending.append(samples)
            count += len(samples)
            if count >= _BLOCK_SECONDS * self.rate:
                yield _check_peak(np.concatenate(pending), total / self.rate)
                total, count, pending = total + count, 0, []
        checks.finish(total + count)
        if pending:
            yield _check_peak(np.concatenate(pending), total / self.rate)
        elif not total:
            raise ValueError("no samples in it")

    def _decode(self, checks: StreamChecks) -> Iterator["av.AudioFrame"]:
        import av

        samples = 0
        try:
            for packet in self._container.demux(self._stream):
                checks.check_packet(packet, samples)
                if self._identifies and not self._is_lossless and packet.size:
                    self._hash.update(packet)
                for frame in checks.decode(packet):
                    checks.check_frame(frame, samples)
                    yield frame
                    samples += frame.samples
        except av.error.FFmpegError as error:
            place = f"truncated or damaged after {samples / self.rate:.1f} s"
            if not samples:
                place = f"not audio in a known format ({error.strerror})"
            raise ValueError(place) from error


def _check_peak(block: np.ndarray, seconds: float) -> np.ndarray:
    """Checks that no sample of a block is a spike of damage; returns the block.

    Args:
      seconds: start of the block, for the message.
    """
    peak = float(max(block.max(), -block.min()))
    if peak > _LOUD:
        usual = float(np.quantile(np.abs(block), 1 - _SPIKE_SHARE))
        if peak > min(_LARGEST, _SPIKE * usual):
            raise ValueError(f"damaged: a sample of {peak:.3g} after {seconds:.1f} s")
    return block


def _describe_stream(
    container: "av.container.InputContainer",
    stream: "av.AudioStream",
    file: BinaryIO,
    ignores_length: bool,
) -> StreamInfo:
    """Describes a stream of sound.

    Raises:
      ValueError: its rate or its channels are impossible.
    """
    codec, format_name, rate = stream.codec_context, container.format.name, stream.rate or 0
    names = (channel.name for channel in stream.layout.channels)
    layout = tuple("" if name == "NONE" else name for name in names)
    if not RATES[0] <= rate <= RATES[1] or not layout:
        raise ValueError(f"broken header: {rate} Hz, {len(layout)} channels")
    flac = containers.read_flac_info(codec.extradata) if format_name == "flac" else None
    seconds = None
    if flac is not None:
        seconds = flac[1] / rate if flac[1] else None
    elif format_name == "mp3":
        frames, size = read_xing_frames(file), codec.frame_size
        seconds = frames * size / rate if frames and size else None
    elif not ignores_length and format_name not in _NO_DURATION:
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / 1e6  # FFmpeg's microseconds
    return StreamInfo(file, format_name, codec.name, rate, layout, seconds, flac)


@contextlib.contextmanager
def open_sound(path: str | os.PathLike, *, identify: bool = False) -> Iterator[SoundFile]:
    """Opens a sound file for decoding, as a context manager.

    Args:
      identify: computes `SoundFile.content` while decoding.

    Raises:
      ValueError: the file is missing, empty, no regular file, not audio, truncated or damaged; the
        message is short and does not name the file.
    """
    import av  # 0.2 s

    with open_regular(path) as file:
        wav_options = _check_head(file)
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file", **wav_options}
        try:
            container = av.open(os.fspath(path), options=options, **_av_arguments(av.__version__))
        except av.error.FFmpegError as error:
            raise ValueError(_describe_refusal(file, error)) from error
        with container:
            yield SoundFile(container, file, ignores_length=bool(wav_options), identify=identify)


def _check_head(file: BinaryIO) -> dict[str, str]:
    """Checks a file before FFmpeg reads it; returns FFmpeg's options for WAV files."""
    head = file.read(512)
    if not head:
        raise ValueError("empty file (0 bytes)")
    if all(byte in _TEXT for byte in head):
        raise ValueError("not audio: a text file")
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return containers.read_wav_options(file)
    if head[:4] == b"OggS":
        containers.check_ogg(file)
    elif head[:4] == b"caff":
        containers.check_caf(file)
    elif head[:4] == b"riff" and head[24:28] == b"wave":
        containers.check_w64(file)
    return {}


def _describe_refusal(file: BinaryIO, error: "av.error.FFmpegError") -> str:
    file.seek(4)
    if file.read(4) == b"ftyp" and "Invalid data" in str(error):
        return "truncated: the index at its end (moov) is missing"
    return f"not audio in a known format ({error.strerror})"


def open_regular(path: str | os.PathLike) -> BufferedReader:
    """Opens a regular file for reading; does not wait for the writer of a pipe.

    Raises:
      ValueError: the file cannot be read, or is a folder, a pipe or a device; the message does not
        name the file.
    """
    if files.is_special(path):
        raise ValueError("not a regular file, but a pipe, a socket or a device")
    try:
        return open(path, "rb")
    except IsADirectoryError as error:
        raise ValueError("a folder, not a file") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def _av_arguments(version: str) -> dict[str, Any]:
    """Returns the arguments of `av.open` that keep the bytes of tags that are not UTF-8.

    PyAV 19 keeps them by default, and has no such argument.
    """
    return {"metadata_errors": "surrogateescape"} if int(version.partition(".")[0]) < 19 else {}


def decode_file(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Decodes a sound file: float32 [time, channels], and the sample rate.

    Raises:
      ValueError: as `open_sound` and `SoundFile.blocks`.
    """
    with open_sound(path) as sound:
        return np.concatenate(list(sound.blocks())), sound.rate
