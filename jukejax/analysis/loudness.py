"""Level and faults of audio: loudness, true peak, silence, clipping, DC.

Sounds are float [time, channels] at 44.1 kHz, unless noted otherwise.
"""

import math

import numpy as np
import soxr

from jukejax.data.audio import SAMPLE_RATE

MONO = 10 * math.log10(2)  # dB: difference in loudness of mono from two loudspeakers and from one
OVERSAMPLING = 4
SILENCE_DB = -60.0  # RMS of a silent step, at most
STEP = 0.05  # seconds
FULL_SCALE, CLIPPED_RUN = 0.999, 3  # consecutive samples at full scale of a clipped peak
_BLOCK = 1 << 18  # samples oversampled at once
_MARGIN = 512  # samples of context for the filter on each side


def measure_loudness(sound: np.ndarray) -> float | None:
    """Computes the integrated loudness in LUFS (ITU-R BS.1770-4, gated).

    The loudness of mono is that of the same signal in both channels.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.

    Returns:
      None if the sound is too soft, or shorter than a gating block.
    """
    import pyloudnorm

    if len(sound) < 0.4 * SAMPLE_RATE:  # less than one gating block
        return None

    level = float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(sound))
    if not math.isfinite(level):
        return None
    return level + (MONO if sound.shape[1] == 1 else 0.0)


def true_peak_db(sound: np.ndarray) -> float:
    """Computes the peak, including the signal between samples, in dBTP (ITU-R BS.1770-4, annex 2).

    Oversamples four times with soxr, whose filter is steeper than that of the annex.
    """
    peak = float(np.abs(sound).max(initial=0.0))
    for start in range(0, len(sound), _BLOCK):
        first = max(start - _MARGIN, 0)
        block = np.asarray(sound[first : start + _BLOCK + _MARGIN], np.float32)
        oversampled = soxr.resample(block, 1, OVERSAMPLING, quality="HQ")
        inner = oversampled[(start - first) * OVERSAMPLING :][: _BLOCK * OVERSAMPLING]
        peak = max(peak, float(np.abs(inner).max(initial=0.0)))
    return 20 * math.log10(max(peak, 1e-6))


def silent_share(sound: np.ndarray, *, sample_rate: int = SAMPLE_RATE) -> float:
    """Computes the share of 50 ms steps whose RMS is under `SILENCE_DB`, 0 to 1."""
    step = round(STEP * sample_rate)
    steps = len(sound) // step
    if not steps:
        return float(_rms(sound) < 10 ** (SILENCE_DB / 20))
    power = np.square(sound[: steps * step], dtype=np.float64).mean(axis=1)
    level = np.sqrt(power.reshape(steps, step).mean(axis=1))
    return float((level < 10 ** (SILENCE_DB / 20)).mean())


def _rms(sound: np.ndarray) -> float:
    return math.sqrt(np.square(sound, dtype=np.float64).mean()) if sound.size else 0.0


def clipped_share(sound: np.ndarray) -> float:
    """Computes the share of samples in runs of `CLIPPED_RUN` or more at full scale, same sign."""
    clipped = 0
    for channel in np.asarray(sound).T:
        for sign in (1, -1):
            at = np.concatenate([[False], sign * channel >= FULL_SCALE, [False]])
            edges = np.flatnonzero(np.diff(at.astype(np.int8)))
            runs = edges[1::2] - edges[::2]
            clipped += int(runs[runs >= CLIPPED_RUN].sum())
    return clipped / max(sound.size, 1)


def dc_offset(sound: np.ndarray) -> float:
    """Computes the largest mean of a channel, as a share of full scale."""
    return float(np.abs(np.asarray(sound, np.float64).mean(axis=0)).max(initial=0.0))


def measure_level(sound: np.ndarray) -> dict[str, float | None]:
    """Computes all figures by name: loudness_lufs (may be None), true_peak_db, silent, clipped, dc.

    Args:
      sound: float32 [time, channels] at 44.1 kHz.
    """
    return {
        "loudness_lufs": measure_loudness(sound),
        "true_peak_db": true_peak_db(sound),
        "silent": silent_share(sound),
        "clipped": clipped_share(sound),
        "dc": dc_offset(sound),
    }
