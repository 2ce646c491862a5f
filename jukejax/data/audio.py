"""Sound files in and out: decode anything, resample, write WAV. NumPy only, `[time, channels]`."""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

from jukejax.common import files

SAMPLE_RATE = 44100
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4"}
    | {".aiff", ".aif", ".aac", ".webm", ".wma"}
)
_NO_DURATION = ("aac", "mp3", "flac", "ogg")  # FFmpeg guesses a length for these, by bit rate
_TEXT = frozenset(b"\t\n\r\f") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))
MISSING_SECONDS = 0.1  # a file that lacks more of what it declares is truncated


def decode(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Reads a whole sound file from its start.

    libsndfile first (wav, flac, ogg, opus, mp3, aiff), then FFmpeg through PyAV (m4a, aac, wma,
    webm). Nothing seeks: seeking in Vorbis is not sample-exact in libsndfile 1.2.2.

    Returns:
      float32 [time, channels], sample rate. Samples may exceed 1.0, as lossy decoders do.

    Raises:
      ValueError: says why in a few words: empty, not audio, truncated, not a number.
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
    """Samples, rate and the number of frames that the container declares."""
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
    """Frames by the header's own word: libsndfile quietly trims some counts to what is there."""
    if file.format in ("WAV", "WAVEX", "AIFF"):
        declared, there = _data_chunk(path)
        return file.frames * declared // max(there, 1)
    if file.format == "OGG" and _ogg_is_cut(path):
        seconds = file.frames / file.samplerate
        raise ValueError(f"truncated: its last Ogg page is not whole (after {seconds:.1f} s)")
    return file.frames


def _data_chunk(path: Path) -> tuple[int, int]:
    """Bytes of sound that a RIFF or AIFF file declares, and those that are there.

    A streamed file declares none or as many as the field holds: what is there counts.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        order = "big" if file.read(4) == b"FORM" else "little"
        file.seek(12)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], order)
            if head[:4] in (b"data", b"SSND"):
                there = min(length, size - file.tell())
                streamed = length == 0 or length >= 0x7FFFFFFF - 65536
                return (there, there) if streamed else (length, there)
            file.seek(length + length % 2, io.SEEK_CUR)
    return 0, 0


def _ogg_is_cut(path: Path) -> bool:
    """Whether the last Ogg page ends after the end of the file."""
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
    """The same through FFmpeg, without its resampler (its aliases lie at -20 dB)."""
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
            raise ValueError(f"not audio that we can read ({error.strerror})") from error
        raise ValueError(
            f"truncated or damaged after {sum(map(len, blocks)) / rate:.1f} s"
        ) from error
    if not blocks:
        raise ValueError("no audio that we can read")
    if len({block.shape[1] for block in blocks}) > 1:
        raise ValueError("the number of channels changes within the file")
    return np.concatenate(blocks), rate, round(declared * rate)


def _av_options(version: str) -> dict[str, str]:
    """Returns what `av.open` must be told so that tags that are no UTF-8 are no error.

    PyAV 19 decodes them without errors, and has no such argument.
    """
    return {"metadata_errors": "ignore"} if int(version.partition(".")[0]) < 19 else {}


def _frame_to_float(frame) -> np.ndarray:
    """An FFmpeg frame, planar or packed, of any sample type, as float32 [time, channels]."""
    array = frame.to_ndarray()
    channels = frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if np.issubdtype(array.dtype, np.integer):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    return array.astype(np.float32)


def load(path: str | os.PathLike, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Decodes and resamples (soxr HQ, aliases at -135 dB).

    Returns:
      float32 [time, channels], 1 or 2 channels. NOTE: of surround files the front left and right
      are kept; the other channels carry no more than ambience and the bass doubled.
    """
    audio, rate = decode(path)
    return resample(audio[:, :2], rate, sample_rate)


def resample(audio: np.ndarray, rate: int, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """float32 [time, channels] at `rate` to the same at `sample_rate`."""
    if rate == sample_rate:
        return np.ascontiguousarray(audio)
    return soxr.resample(np.ascontiguousarray(audio), rate, sample_rate, quality="HQ")


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float in [-1, 1] to int16; 16-bit sources come back exactly."""
    return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)


def to_float(audio: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1)."""
    return audio.astype(np.float32) / np.float32(32768)


def write_wav(path: str | os.PathLike, audio: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float:
    """Writes 16-bit PCM; the file appears whole or not at all.

    Args:
      audio: float [time] or [time, channels].

    Returns:
      The gain applied: 1.0, or less if a peak above 1.0 made us turn the whole file down, so that
      nothing is clipped in silence.
    """
    audio = np.asarray(audio, np.float32)
    if not np.isfinite(audio).all():
        raise ValueError(f"{path}: the audio to write holds NaN or infinite samples")
    peak = float(np.abs(audio).max(initial=0.0))
    gain = 1.0 if peak <= 1.0 else 1.0 / peak
    buffer = io.BytesIO()
    soundfile.write(buffer, to_int16(audio * gain), sample_rate, "PCM_16", format="WAV")
    files.write_bytes(path, buffer.getbuffer())
    return gain
