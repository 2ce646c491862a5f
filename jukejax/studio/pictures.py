"""What the player draws: the peaks of a sound, and its mel spectrogram as a bare picture."""

import io
from pathlib import Path

import numpy as np
import soundfile

from jukejax.analysis.mel import mel_decibels
from jukejax.pages.pictures import MEL_FLOOR_DB

NUM_PEAKS = 800
_BLOCK = 1 << 18  # samples


def compute_peaks(path: Path, count: int = NUM_PEAKS) -> list[list[float]]:
    """Computes the least and the largest sample of `count` equal parts of a sound.

    A file that grows is read as far as its header says.
    """
    with soundfile.SoundFile(path) as file:
        frames = file.frames
        count = min(count, frames)
        edges = np.arange(count + 1) * frames // max(count, 1)
        lowest, highest = np.zeros(count), np.zeros(count)
        position = 0
        while position < frames:
            block = file.read(_BLOCK, dtype="float32", always_2d=True).mean(axis=1)
            if not len(block):
                break
            first = np.searchsorted(edges, position, "right") - 1
            last = np.searchsorted(edges, position + len(block), "left")
            cuts = np.clip(edges[first:last] - position, 0, len(block) - 1)
            span = slice(first, last)
            lowest[span] = np.minimum(lowest[span], np.minimum.reduceat(block, cuts))
            highest[span] = np.maximum(highest[span], np.maximum.reduceat(block, cuts))
            position += len(block)
    return [[round(float(a), 3), round(float(b), 3)] for a, b in zip(lowest, highest, strict=True)]


def draw_mel(path: Path) -> bytes:
    """Draws the mel spectrogram of a sound as a PNG without axes, low frequencies at the bottom."""
    import matplotlib
    from matplotlib.image import imsave

    with soundfile.SoundFile(path) as file:
        sound = file.read(dtype="float32", always_2d=True)
        rate = file.samplerate
    spectrogram = mel_decibels(sound, rate)
    buffer = io.BytesIO()
    colors = matplotlib.colormaps["magma"]
    scaled = np.clip((spectrogram[::-1] - MEL_FLOOR_DB) / -MEL_FLOOR_DB, 0, 1)
    imsave(buffer, colors(scaled, bytes=True), format="png")
    return buffer.getvalue()
