"""Sound files for tests, in the formats that FFmpeg writes."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 44100
CODECS = {  # by suffix: codec, container
    ".mp3": ("libmp3lame", "mp3"),
    ".mp2": ("mp2", "mp2"),
    ".m4a": ("aac", "ipod"),
    ".aac": ("aac", "adts"),
    ".ac3": ("ac3", "ac3"),
    ".wma": ("wmav2", "asf"),
    ".webm": ("libopus", "webm"),
    ".mka": ("flac", "matroska"),
    ".opus": ("libopus", "ogg"),
    ".wv": ("wavpack", "wv"),
    ".tta": ("tta", "tta"),
}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def make_song(seconds: float = 2.0, seed: int = 0, rate: int = RATE, channels: int = 2):
    """Returns noise bursts over a tone, loud from the first to the last sample."""
    random = np.random.RandomState(seed)
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (220 + 50 * seed) * time)[:, None]
    noise = random.randn(len(time), channels) * np.exp(-8 * (time % 0.25))[:, None]
    sound = 0.3 * tone + 0.1 * noise + 0.01 * random.randn(len(time), channels)
    return sound.astype(np.float32)


def write_file(path: Path, sound: np.ndarray, rate: int = RATE, options=None, tags=None) -> None:
    """Writes float32 [time, channels] in the format of the suffix of `path`.

    Args:
      options: of FFmpeg's muxer.
      tags: of the container.
    """
    codec, container = CODECS[path.suffix]
    layout = _LAYOUTS[sound.shape[1]]
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        file.metadata.update(tags or {})
        stream = file.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(
            format=stream.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        stream.bit_rate = 64000 * sound.shape[1]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound.T), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))


def damage(path: Path, kind: str) -> None:
    """Damages a file: "cut" at half, "hole" of zeros or "missing" bytes in the middle."""
    data = path.read_bytes()
    middle, size = len(data) // 2, len(data) // 6
    if kind == "cut":
        path.write_bytes(data[: middle - 37])  # within a frame
    elif kind == "hole":
        path.write_bytes(data[:middle] + bytes(size) + data[middle + size :])
    else:
        path.write_bytes(data[:middle] + data[middle + size :])
