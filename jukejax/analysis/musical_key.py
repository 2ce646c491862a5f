"""Musical key: chroma of spectral peaks, corrected for tuning, compared with profiles of keys.

The chroma are sums over spectral peaks (Gómez, "Tonal Description of Polyphonic Audio for Music
Content Processing", 2006). The profiles are those of Faraldo et al., "Key Estimation in Electronic
Dance Music" (ECIR 2016), averages over a corpus of electronic dance music.

Letters: F frames of `HOP` samples at `SAMPLE_RATE`, K frequency bins.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.fft
import soxr

SAMPLE_RATE, N_FFT, HOP = 11_025, 4096, 512
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
BASS_HZ, HARMONY_HZ = (32.0, 180.0), (180.0, 1500.0)
_REFERENCE_HZ = 440.0 * 2 ** (-9 / 12)  # C4
_BLOCK = 2048  # frames transformed at once, which bounds the memory
_FLOOR = 1e-3  # ratio to the loudest point of a frame, -60 dB, below which points are no peaks
_BASS_SHARE = 0.25  # weight of the bass in the chroma of a recording
_CLEAR = 0.15  # difference of the best two correlations at which the key is certain
# Faraldo's profiles "edma", from the tonic up in semitones.
_MAJOR = (1.00, 0.29, 0.50, 0.40, 0.60, 0.56, 0.32, 0.80, 0.31, 0.45, 0.42, 0.39)
_MINOR = (1.00, 0.31, 0.44, 0.58, 0.33, 0.49, 0.29, 0.78, 0.43, 0.29, 0.53, 0.32)


@dataclass(frozen=True)
class Chroma:
    """Strength of the pitch classes, C first, float32 [F, 12] each.

    Attributes:
      bass, harmony: of the peaks in `BASS_HZ` and `HARMONY_HZ`.
      tuning: deviation from A4 = 440 Hz, semitones, -0.5 to 0.5.
    """

    bass: np.ndarray = field(repr=False)
    harmony: np.ndarray = field(repr=False)
    tuning: float


def compute_chroma(mono: np.ndarray, sample_rate: int) -> Chroma:
    """Computes the chroma of a sound, float32 [time]; a frame is centered on its position."""
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    padded = np.pad(mono, (N_FFT // 2, N_FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    frames, window = frames[: 1 + len(mono) // HOP], np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    peaks = [
        _find_peaks(frames[start : start + _BLOCK] * window, start)
        for start in range(0, len(frames), _BLOCK)
    ]
    frame, hertz, strength = np.concatenate([np.zeros((3, 0)), *peaks], axis=1)
    pitch = 12 * np.log2(hertz / _REFERENCE_HZ)
    turn = np.sum(strength * np.exp(2j * np.pi * pitch))
    tuning = float(np.angle(turn) / (2 * np.pi)) if len(pitch) else 0.0
    pitch -= tuning
    nearest = np.rint(pitch)
    strength = strength * np.cos(np.pi * (pitch - nearest)) ** 2
    place = frame.astype(np.int64) * 12 + nearest.astype(np.int64) % 12
    bands = []
    for lowest, highest in (BASS_HZ, HARMONY_HZ):
        within = (hertz >= lowest) & (hertz < highest)
        sums = np.bincount(place[within], strength[within], minlength=12 * len(frames))
        bands.append(sums.reshape(-1, 12).astype(np.float32))
    return Chroma(*bands, tuning)


def _find_peaks(frames: np.ndarray, first: int) -> np.ndarray:
    """Finds spectral peaks: frame, frequency in Hz and square root of magnitude, [3, peaks].

    The position of a peak is that of a parabola through three logarithms of magnitudes.

    Args:
      frames: windowed sound, [F, N_FFT].
      first: number of the first frame.
    """
    top = int(HARMONY_HZ[1] / SAMPLE_RATE * N_FFT) + 2
    magnitude = np.abs(scipy.fft.rfft(frames, axis=1)[:, :top])
    floor = _FLOOR * magnitude.max(axis=1, keepdims=True)
    middle = magnitude[:, 1:-1]
    is_peak = (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:]) & (middle > floor)
    frame, k = np.nonzero(is_peak)
    k += 1
    left, center, right = (np.log(magnitude[frame, k + step] + 1e-20) for step in (-1, 0, 1))
    shift = 0.5 * (left - right) / np.minimum(left - 2 * center + right, -1e-9)
    hertz = (k + np.clip(shift, -0.5, 0.5)) * SAMPLE_RATE / N_FFT
    audible = hertz >= BASS_HZ[0]
    strength = np.sqrt(magnitude[frame, k])
    return np.stack([frame + first, hertz, strength])[:, audible]


def estimate_key(chroma: Chroma) -> tuple[str | None, float]:
    """Estimates the key, such as "A minor", and the confidence in it, 0 to 1.

    The key is None, at confidence 0, for a sound without pitches.
    """
    total = np.zeros(12)
    for band, share in ((chroma.bass, _BASS_SHARE), (chroma.harmony, 1 - _BASS_SHARE)):
        sums = band.sum(axis=0, dtype=np.float64)
        total += share * sums / max(sums.sum(), 1e-12)
    if total.std() < 1e-9:
        return None, 0.0
    scores = np.array([_correlate(total, np.array(profile)) for profile in (_MAJOR, _MINOR)])
    mode, tonic = np.unravel_index(scores.argmax(), scores.shape)
    second, best = np.sort(scores, axis=None)[-2:]
    confidence = float(np.clip((best - second) / _CLEAR, 0, 1) * np.clip(best, 0, 1))
    return f"{PITCH_CLASSES[tonic]} {('major', 'minor')[mode]}", confidence


def _correlate(total: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Correlates the chroma of a recording with a profile at each of the 12 tonics."""
    rotated = np.stack([np.roll(profile, tonic) for tonic in range(12)])
    rotated -= rotated.mean(axis=1, keepdims=True)
    centered = total - total.mean()
    return rotated @ centered / (np.linalg.norm(rotated, axis=1) * np.linalg.norm(centered))
