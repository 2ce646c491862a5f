"""Musical key and chroma, from spectral peaks that are corrected for tuning.

Chroma are sums over spectral peaks (Gómez, "Tonal Description of Polyphonic Audio for Music Content
Processing", 2006), and the key is the profile with the highest correlation (Krumhansl, "Cognitive
Foundations of Musical Pitch", 1990). Only peaks far above the spectrum around them count for the
key, so that drums do not. As minor keys are far more frequent than major keys in electronic dance
music (Faraldo et al., "Key Estimation in Electronic Dance Music", 2016), they have an advantage.

Letters: F frames, K frequency bins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import soxr

from jukejax.data.grid import TONICS

SAMPLE_RATE = 11_025
BASS_HZ, HARMONY_HZ = (32.0, 180.0), (180.0, 1500.0)  # bands of the chroma
CHROMA_HOP = 512
KEY_HZ = (130.0, 1000.0)
_CHROMA_FFT, _KEY_FFT, _KEY_HOP = 4096, 8192, 2048
_REFERENCE_HZ = 440.0 * 2 ** (-9 / 12)  # C4
_BLOCK = 1024  # frames transformed at once, which bounds the memory
_FLOOR = 1e-3  # ratio to the loudest point of a frame, -60 dB, below which points are no peaks
_NEIGHBOURS = 41  # bins around a peak whose median is the level of noise
_ABOVE = 4.0  # ratio of a tone to that level
_FEWEST = 0.5  # tones per frame in a sound with pitches
_COMPRESSION = 0.5  # exponent of the chroma: which notes occur counts more than how long
_MINOR_ADVANTAGE = 0.08  # of the correlation; with more, a cadence in C major is in A minor
_CLEAR = 0.15  # difference of the best two correlations at which the key is certain
_NOTES = 5.0  # effective number of pitch classes from which a key is certain
# Weights of the notes from the tonic up in semitones: those of the scale, more in the tonic triad.
_MAJOR = (1.0, 0.0, 0.45, 0.0, 0.75, 0.45, 0.0, 0.9, 0.0, 0.4, 0.0, 0.35)
_MINOR = (1.0, 0.0, 0.45, 0.75, 0.0, 0.45, 0.0, 0.9, 0.4, 0.0, 0.45, 0.0)


@dataclass(frozen=True)
class Chroma:
    """Strength of the pitch classes, C first, in frames of `CHROMA_HOP`, float32 [F, 12] each.

    Attributes:
      bass, harmony: of the peaks in `BASS_HZ` and in `HARMONY_HZ`.
    """

    bass: np.ndarray = field(repr=False)
    harmony: np.ndarray = field(repr=False)


class _Peaks(NamedTuple):
    """Spectral peaks of a block: frame and bin, int64 [n] each; frequency in Hz, float64 [n]."""

    frame: np.ndarray
    bin: np.ndarray
    hertz: np.ndarray


def compute_chroma(mono: np.ndarray, sample_rate: int) -> Chroma:
    """Computes the chroma of a sound, float32 [time]; a frame is centered on its position."""
    mono = _resample(mono, sample_rate)
    blocks = [np.zeros((3, 0))]
    for first, magnitude, peaks in _transform(mono, _CHROMA_FFT, CHROMA_HOP, HARMONY_HZ[1]):
        strength = np.sqrt(magnitude[peaks.frame, peaks.bin])
        blocks.append(np.stack([peaks.frame + first, peaks.hertz, strength]))
    frame, hertz, strength = np.concatenate(blocks, axis=1)
    count = 1 + len(mono) // CHROMA_HOP
    pitch_class, strength = _name_pitches(hertz, strength)
    place = frame.astype(np.int64) * 12 + pitch_class
    bands = []
    for lowest, highest in (BASS_HZ, HARMONY_HZ):
        within = (hertz >= lowest) & (hertz < highest)
        sums = np.bincount(place[within], strength[within], minlength=12 * count)
        bands.append(sums.reshape(-1, 12).astype(np.float32))
    return Chroma(*bands)


def estimate_key(mono: np.ndarray, sample_rate: int) -> tuple[str | None, float]:
    """Estimates the key of a sound, float32 [time], such as "A minor".

    Returns:
      The key, and the confidence in it, 0 to 1. A sound without pitches has no key: None, 0.0.
    """
    mono = _resample(mono, sample_rate)
    blocks = [np.zeros((2, 0))]
    for _, magnitude, peaks in _transform(mono, _KEY_FFT, _KEY_HOP, 1.1 * KEY_HZ[1]):
        noise = scipy.ndimage.median_filter(magnitude, (1, _NEIGHBOURS))[peaks.frame, peaks.bin]
        above = magnitude[peaks.frame, peaks.bin] / np.maximum(noise, 1e-9)
        tones = (above > _ABOVE) & (peaks.hertz >= KEY_HZ[0]) & (peaks.hertz < KEY_HZ[1])
        blocks.append(np.stack([peaks.hertz[tones], np.log(above[tones] / _ABOVE)]))
    hertz, strength = np.concatenate(blocks, axis=1)
    if len(hertz) < max(_FEWEST * len(mono) / _KEY_HOP, 1):
        return None, 0.0
    total = np.bincount(*_name_pitches(hertz, strength), minlength=12)
    return _compare_profiles(total / total.sum())


def _compare_profiles(total: np.ndarray) -> tuple[str, float]:
    """Returns the key that fits chroma, float64 [12] of sum 1, best, and the confidence in it."""
    compressed = total**_COMPRESSION
    scores = np.stack([_correlate(compressed, np.array(weights)) for weights in (_MAJOR, _MINOR)])
    scores[1] += _MINOR_ADVANTAGE
    mode, tonic = np.unravel_index(scores.argmax(), scores.shape)
    second, best = np.sort(scores, axis=None)[-2:]
    notes = np.exp(-np.sum(total * np.log(total + 1e-12)))
    confidence = np.clip((best - second) / _CLEAR, 0, 1) * np.clip((notes - 1) / (_NOTES - 1), 0, 1)
    return f"{TONICS[tonic]} {('major', 'minor')[mode]}", float(confidence)


def _correlate(total: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlates chroma, [12], with a profile at each of the 12 tonics: float64 [12]."""
    rotated = np.stack([np.roll(weights, tonic) for tonic in range(12)])
    rotated -= rotated.mean(axis=1, keepdims=True)
    centered = total - total.mean()
    norms = np.linalg.norm(rotated, axis=1) * np.linalg.norm(centered)
    return rotated @ centered / np.maximum(norms, 1e-12)


def _resample(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    if sample_rate == SAMPLE_RATE:
        return mono
    return soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")


def _transform(
    mono: np.ndarray, n_fft: int, hop: int, highest_hz: float
) -> Iterator[tuple[int, np.ndarray, _Peaks]]:
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
        yield first, magnitude, _Peaks(frame, k, hertz.astype(np.float64))


def _name_pitches(hertz: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pitch classes, int64 [n], and the strengths, less for those between two.

    The tuning is the mean deviation of all peaks from the pitches of A4 = 440 Hz.
    """
    pitch = 12 * np.log2(hertz / _REFERENCE_HZ)
    tuning = np.angle(np.sum(strength * np.exp(2j * np.pi * pitch))) / (2 * np.pi)
    pitch -= tuning
    nearest = np.rint(pitch)
    return nearest.astype(np.int64) % 12, strength * np.cos(np.pi * (pitch - nearest)) ** 2
