"""Chroma: the strengths of the pitch classes, from spectral peaks that are corrected for tuning.

Chroma are sums over spectral peaks (Gómez, "Tonal Description of Polyphonic Audio for Music Content
Processing", 2006).

Letters: F frames, K frequency bins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.fft
import soxr

SAMPLE_RATE = 11_025
BASS_HZ, HARMONY_HZ = (32.0, 180.0), (180.0, 1500.0)  # bands of the chroma
CHROMA_HOP = 512
_FFT = 4096
_REFERENCE_HZ = 440.0 * 2 ** (-9 / 12)  # C4
_BLOCK = 1024  # frames transformed at once, which bounds the memory
_FLOOR = 1e-3  # ratio to the loudest point of a frame, -60 dB, below which points are no peaks


@dataclass(frozen=True)
class Chroma:
    """Strength of the pitch classes, C first, in frames of `CHROMA_HOP`, float32 [F, 12] each.

    Attributes:
      bass, harmony: of the peaks in `BASS_HZ` and in `HARMONY_HZ`.
    """

    bass: np.ndarray = field(repr=False)
    harmony: np.ndarray = field(repr=False)


class Peaks(NamedTuple):
    """Spectral peaks of a block: frame and bin, int64 [n] each; frequency in Hz, float64 [n]."""

    frame: np.ndarray
    bin: np.ndarray
    hertz: np.ndarray


def compute_chroma(mono: np.ndarray, sample_rate: int) -> Chroma:
    """Computes the chroma of a sound, float32 [time]; a frame is centered on its position."""
    mono = resample_tonal(mono, sample_rate)
    blocks = [np.zeros((3, 0))]
    for first, magnitude, peaks in find_peaks(mono, _FFT, CHROMA_HOP, HARMONY_HZ[1]):
        strength = np.sqrt(magnitude[peaks.frame, peaks.bin])
        blocks.append(np.stack([peaks.frame + first, peaks.hertz, strength]))
    frame, hertz, strength = np.concatenate(blocks, axis=1)
    count = 1 + len(mono) // CHROMA_HOP
    pitch_class, weight = name_pitches(hertz, estimate_tuning(hertz, strength))
    place, strength = frame.astype(np.int64) * 12 + pitch_class, strength * weight
    bands = []
    for lowest, highest in (BASS_HZ, HARMONY_HZ):
        within = (hertz >= lowest) & (hertz < highest)
        sums = np.bincount(place[within], strength[within], minlength=12 * count)
        bands.append(sums.reshape(-1, 12).astype(np.float32))
    return Chroma(*bands)


def resample_tonal(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resamples a sound to `SAMPLE_RATE`."""
    if sample_rate == SAMPLE_RATE:
        return mono
    return soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")


def find_peaks(
    mono: np.ndarray, n_fft: int, hop: int, highest_hz: float
) -> Iterator[tuple[int, np.ndarray, Peaks]]:
    """Yields the first frame, the magnitudes [F, K] and the peaks of each block of frames.

    A peak lies at the maximum of a parabola through three logarithms of magnitudes.
    """
    padded = np.pad(mono, (n_fft // 2, n_fft))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    frames, window = frames[: 1 + len(mono) // hop], np.hanning(n_fft + 1)[:-1].astype(np.float32)
    top = int(highest_hz / SAMPLE_RATE * n_fft) + 2
    for first in range(0, len(frames), _BLOCK):
        spectrum = scipy.fft.rfft(frames[first : first + _BLOCK] * window, axis=1)
        magnitude = np.abs(spectrum[:, :top])
        floor = _FLOOR * magnitude.max(axis=1, keepdims=True)
        middle = magnitude[:, 1:-1]
        is_peak = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:]) & (middle > floor)
        is_peak[:, : int(BASS_HZ[0] / SAMPLE_RATE * n_fft)] = False
        frame, k = np.nonzero(is_peak)
        k += 1
        left, center, right = (np.log(magnitude[frame, k + step] + 1e-20) for step in (-1, 0, 1))
        shift = 0.5 * (left - right) / np.minimum(left - 2 * center + right, -1e-9)
        hertz = (k + np.clip(shift, -0.5, 0.5)) * SAMPLE_RATE / n_fft
        yield first, magnitude, Peaks(frame, k, hertz.astype(np.float64))


def estimate_tuning(hertz: np.ndarray, strength: np.ndarray) -> float:
    """Estimates the deviation from the pitches of A4 = 440 Hz in semitones: the mean of peaks."""
    angles = 2j * np.pi * 12 * np.log2(hertz / _REFERENCE_HZ)
    return float(np.angle(np.sum(strength * np.exp(angles))) / (2 * np.pi))


def name_pitches(hertz: np.ndarray, tuning: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pitch classes, int64 [n], and weights that are lower between two, 0 to 1."""
    pitch = 12 * np.log2(hertz / _REFERENCE_HZ) - tuning
    nearest = np.rint(pitch)
    return nearest.astype(np.int64) % 12, np.cos(np.pi * (pitch - nearest)) ** 2
