"""Decoding of sound files by FFmpeg (PyAV) in blocks, with proof that the file is whole.

A file is decoded from its start to its end, once; every format by the same library, so that
lengths are FFmpeg's to the sample. FFmpeg's resampler and its downmix are not used.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

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
RATES = (2000, 3_000_000)  # Hz; DSD at 512 times 44.1 kHz is decoded at 2.8 MHz


class SoundFile:
    """A sound file that is open for decoding; see `open_sound`.

    Attributes:
      rate: samples per second.
      layout: names of the channels in FFmpeg's terms, such as ("FL", "FR"); names are empty if the
        file has no layout.
      seconds: length that the container declares; None if it declares none.
      tags: of the container and the stream, by their names in lower case.
      notes: what a user should know, such as other streams that are not used.
    """

    def __init__(self, container: "av.container.InputContainer", file: BinaryIO, ignores: bool):
        self._container, self._file = container, file
        self._format = container.format.name
        index = getattr(container.streams.best("audio"), "index", None)
        if index is None:
            raise ValueError("no audio stream in it")
        self._stream = stream = next(s for s in container.streams.audio if s.index == index)
        codec = stream.codec_context
        self._codec = codec.name
        codec.thread_count = 1
        if self._codec in _LOSSLESS:
            codec.options = {"err_detect": "crccheck+explode"}
        self.rate = stream.rate or 0
        names = (channel.name for channel in stream.layout.channels)
        self.layout = tuple("" if name == "NONE" else name for name in names)
        if not RATES[0] <= self.rate <= RATES[1] or not self.layout:
            raise ValueError(f"broken header: {self.rate} Hz, {len(self.layout)} channels")
        tags = {**container.metadata, **stream.metadata}
        self.tags = {name.lower(): value for name, value in tags.items()}
        self.notes: list[str] = []
        if (count := len(container.streams.audio)) > 1:
            self.notes.append(f"{count} audio streams: number {stream.index} is used")
        if ignores:
            self.notes.append("the WAV header declares less than the file holds: all of it is read")
        self._flac = containers.read_flac_info(codec.extradata) if self._format == "flac" else None
        self.seconds = None if ignores else self._declared_seconds()
        self._info = StreamInfo(
            file, self._format, self._codec, self.rate, len(self.layout), self.seconds, self._flac
        )
        self._hash = hashlib.sha256(f"{self.rate} {len(self.layout)}".encode())

    @property
    def content(self) -> str:
        """Returns the sha256 of the sound without its tags, after `blocks` has ended.

        That of the samples of lossless formats: equal for a WAV file and its FLAC file. That of the
        packets of other formats, whose samples may differ by the machine in the last bit.
        """
        return self._hash.hexdigest()

    @property
    def _is_lossless(self) -> bool:
        return self._codec in _LOSSLESS or self._codec.startswith("pcm_")

    def _declared_seconds(self) -> float | None:
        if self._flac is not None:
            return self._flac[1] / self.rate if self._flac[1] else None
        if self._format == "mp3":
            frames = read_xing_frames(self._file)
            size = self._stream.codec_context.frame_size
            return frames * size / self.rate if frames and size else None
        if self._format in _NO_DURATION:
            return None
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return duration / 1e6 if duration else None  # of FFmpeg, in microseconds

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
            if self._is_lossless:
                self._hash.update(np.ascontiguousarray(samples, "<f4").data)
            pending.append(samples)
            count += len(samples)
            if count >= _BLOCK_SECONDS * self.rate:
                yield np.concatenate(pending)
                total, count, pending = total + count, 0, []
        total += count
        checks.finish(total)
        if not total:
            raise ValueError("no samples in it")
        if pending:
            yield np.concatenate(pending)

    def _decode(self, checks: StreamChecks) -> Iterator["av.AudioFrame"]:
        import av

        samples = 0
        try:
            for packet in self._container.demux(self._stream):
                checks.check_packet(packet, samples)
                if not self._is_lossless and packet.size:
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


class open_sound:  # a context manager that reads like `open`
    """Opens a sound file for decoding, as a context manager.

    Raises:
      ValueError: the file is missing, empty, no regular file, not audio, truncated or damaged; the
        message is short and does not name the file.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)

    def __enter__(self) -> SoundFile:
        import av  # 0.2 s

        self._file = open_regular(self._path)
        self._container = None
        try:
            options, ignores = self._check_head()
            try:
                self._container = av.open(
                    os.fspath(self._path), options=options, **_av_arguments(av.__version__)
                )
            except av.error.FFmpegError as error:
                raise ValueError(self._describe_refusal(error)) from error
            return SoundFile(self._container, self._file, ignores)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        if self._container is not None:
            self._container.close()
        self._file.close()

    def _check_head(self) -> tuple[dict[str, str], bool]:
        """Checks the file before FFmpeg reads it; returns FFmpeg's options, and `ignores`."""
        head = self._file.read(512)
        if not head:
            raise ValueError("empty file (0 bytes)")
        if all(byte in _TEXT for byte in head):
            raise ValueError("not audio: a text file")
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
        wav: dict[str, str] = {}
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            wav = containers.read_wav_options(self._file)
        elif head[:4] == b"OggS":
            containers.check_ogg(self._file)
        elif head[:4] == b"caff":
            containers.check_caf(self._file)
        elif head[:4] == b"riff" and head[24:28] == b"wave":
            containers.check_w64(self._file)
        self._is_mp4 = head[4:8] == b"ftyp"
        return options | wav, bool(wav)

    def _describe_refusal(self, error: "av.error.FFmpegError") -> str:
        if self._is_mp4 and "Invalid data" in str(error):
            return "truncated: the index at its end (moov) is missing"
        return f"not audio in a known format ({error.strerror})"


def open_regular(path: str | os.PathLike) -> BufferedReader:
    """Opens a regular file for reading; does not wait for the writer of a pipe.

    Raises:
      ValueError: the file cannot be read, or is a folder, a pipe or a device.
    """
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  # returned
    except IsADirectoryError as error:
        raise ValueError("a folder, not a file") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("not a regular file, but a pipe, a socket or a device")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _av_arguments(version: str) -> dict[str, Any]:
    """Returns the arguments of `av.open` that permit tags that are not UTF-8.

    PyAV 19 permits them by default, and has no such argument.
    """
    return {"metadata_errors": "ignore"} if int(version.partition(".")[0]) < 19 else {}


def decode_file(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Decodes a sound file: float32 [time, channels], and the sample rate.

    Raises:
      ValueError: as `open_sound` and `SoundFile.blocks`.
    """
    with open_sound(path) as sound:
        return np.concatenate(list(sound.blocks())), sound.rate
