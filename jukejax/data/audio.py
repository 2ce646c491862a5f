"""Sound files: decoding of all common formats, resampling, writing of WAV.

Arrays are NumPy, [time, channels].
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr

from jukejax.common import files

if TYPE_CHECKING:
    import av

SAMPLE_RATE = 44100
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4"}
    | {".aiff", ".aif", ".aac", ".webm", ".wma"}
)
_NO_DURATION = ("aac", "mp3", "flac", "ogg")  # FFmpeg estimates their length from the bit rate
_TEXT = frozenset(b"\t\n\r\f") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))
MISSING_SECONDS = 0.1  # largest missing part of the declared length of a file that is not truncated


def decode_file(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Decodes a sound file.

    Uses libsndfile (wav, flac, ogg, opus, mp3, aiff), or FFmpeg through PyAV (m4a, aac, wma, webm).

    NOTE: files are decoded from the start: seeking in Vorbis is not sample-exact in libsndfile
    1.2.2.

    Returns:
      float32 [time, channels], sample rate. Samples of lossy formats may exceed 1.0.

    Raises:
      ValueError: the file is empty, not audio, truncated, or holds NaN; the message is short.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not head:
        raise ValueError("empty file (0 bytes)")
    if all(byte in _TEXT for byte in head):
        raise ValueError("not audio: a text file")
    try:
        audio, rate, declared = _decode_soundfile(path)
    except soundfile.LibsndfileError:
        try:
            audio, rate, declared = _decode_av(path)
        except ValueError as error:
            if head[4:8] == b"ftyp" and "Invalid data" in str(error):
                raise ValueError("truncated: the index at its end (moov) is missing") from error
            raise
    if rate <= 0 or audio.shape[1] == 0:
        raise ValueError(f"broken header: {rate} Hz, {audio.shape[1]} channels")
    if len(audio) < declared - MISSING_SECONDS * rate:
        raise ValueError(
            f"truncated: {len(audio) / rate:.1f} s of the {declared / rate:.1f} s it declares"
        )
    if len(audio) == 0:
        raise ValueError("no samples in it")
    if not np.isfinite(audio).all():
        raise ValueError("holds samples that are not numbers (NaN or infinite)")
    return audio, rate


def _decode_soundfile(path: Path) -> tuple[np.ndarray, int, int]:
    """Returns samples, rate and the number of frames that the container declares."""
    blocks = []
    with soundfile.SoundFile(path) as file:
        rate, declared = file.samplerate, _declared_frames(path, file)
        while True:
            block = file.read(1 << 20, dtype="float32", always_2d=True)
            blocks.append(block)
            if len(block) < 1 << 20:
                break
    return np.concatenate(blocks), rate, declared


def _declared_frames(path: Path, file: soundfile.SoundFile) -> int:
    """Returns the frames that the header declares; libsndfile trims some to the file size."""
    if file.format in ("WAV", "WAVEX", "AIFF"):
        declared, present = _measure_data_chunk(path)
        return file.frames * declared // max(present, 1)
    if file.format == "OGG" and _ogg_is_cut(path):
        seconds = file.frames / file.samplerate
        raise ValueError(f"truncated: its last Ogg page is not whole (after {seconds:.1f} s)")
    return file.frames


def _measure_data_chunk(path: Path) -> tuple[int, int]:
    """Returns the bytes of audio that a RIFF or AIFF file declares, and those present.

    A streamed file, which declares no length or the largest value of the field, counts as complete.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        big_endian = file.read(4) == b"FORM"
        file.seek(12)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "big" if big_endian else "little")
            if head[:4] in (b"data", b"SSND"):
                present = min(length, size - file.tell())
                streamed = length == 0 or length >= 0x7FFFFFFF - 65536
                return (present, present) if streamed else (length, present)
            file.seek(length + length % 2, io.SEEK_CUR)
    return 0, 0


def _ogg_is_cut(path: Path) -> bool:
    """Returns true if the last Ogg page ends after the end of the file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 65536 - 512))  # a page is at most 65307 bytes
        tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27 or len(tail) < at + 27 + tail[at + 26]:
        return True
    segments = tail[at + 26]
    return at + 27 + segments + sum(tail[at + 27 : at + 27 + segments]) > len(tail)


def _decode_av(path: Path) -> tuple[np.ndarray, int, int]:
    """Decodes by FFmpeg, without its resampler (whose aliases are at -20 dB)."""
    import av  # 0.2 s, and only for a few formats

    blocks, rate, declared = [], 0, 0.0
    try:
        with av.open(str(path), **_av_options(av.__version__)) as container:
            if not container.streams.audio:
                raise ValueError("no audio stream in it")
            stream = container.streams.audio[0]
            if container.format.name not in _NO_DURATION:
                if stream.duration and stream.time_base:
                    declared = float(stream.duration * stream.time_base)
                elif container.duration:
                    declared = container.duration / av.time_base
            for frame in container.decode(stream):
                rate = rate or frame.sample_rate
                if frame.sample_rate != rate:
                    raise ValueError(f"sample rate changes from {rate} to {frame.sample_rate} Hz")
                blocks.append(_frame_to_float(frame))
    except av.error.FFmpegError as error:
        if not blocks:
            raise ValueError(f"not audio in a known format ({error.strerror})") from error
        raise ValueError(
            f"truncated or damaged after {sum(map(len, blocks)) / rate:.1f} s"
        ) from error
    if not blocks:
        raise ValueError("no audio in a known format")
    if len({block.shape[1] for block in blocks}) > 1:
        raise ValueError("the number of channels changes within the file")
    return np.concatenate(blocks), rate, round(declared * rate)


def _av_options(version: str) -> dict[str, Any]:
    """Returns the arguments of `av.open` that permit tags that are not UTF-8.

    PyAV 19 permits them by default, and has no such argument.
    """
    return {"metadata_errors": "ignore"} if int(version.partition(".")[0]) < 19 else {}


def _frame_to_float(frame: "av.AudioFrame") -> np.ndarray:
    """Converts a frame, planar or packed, of any sample type, to float32 [time, channels]."""
    array: np.ndarray = frame.to_ndarray()
    channels = frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if np.issubdtype(array.dtype, np.integer):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    return array.astype(np.float32)


def load_audio(path: str | os.PathLike, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Decodes and resamples (soxr HQ, aliases at -135 dB).

    NOTE: of surround files only front left and right are used; the other channels contain ambience
    and a second copy of the bass.

    Returns:
      float32 [time, channels], 1 or 2 channels.
    """
    audio, rate = decode_file(path)
    return resample(audio[:, :2], rate, sample_rate)


def resample(audio: np.ndarray, rate: int, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Resamples float32 [time, channels] from `rate` to `sample_rate`."""
    if rate == sample_rate:
        return np.ascontiguousarray(audio)
    return soxr.resample(np.ascontiguousarray(audio), rate, sample_rate, quality="HQ")


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
