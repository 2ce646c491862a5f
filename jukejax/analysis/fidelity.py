"""Fidelity of a reconstruction: distances of spectra and waveforms, and predicted ratings.

Audio is mono, [time] in [-1, 1], of equal length. Spectra are computed in blocks of frames, which
bounds the memory for whole tracks, with NumPy in float64. `ops/stft.py` computes the same figures
in training; tests compare both with OpenAI's. Letters: F frames, K frequency bins.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jukejax.analysis.mel import full_scale_power, hann, mel_filters
from jukejax.common import extras

_BLOCK = 2048  # frames transformed at once
_QUIET = 2e-3  # largest norm of a spectrogram of silence, as in training
_SILENT_PEAK = 1e-6  # largest sample of a silent target, -120 dB
_LOG_FLOOR = 1e-4
_MEL_FLOOR_DB = -80.0
MEL_FFT, MEL_HOP = 2048, 512
SHORTEST = MEL_FFT // 2  # samples; audio must be longer
VISQOL_RATE, VISQOL_SECONDS = 48_000, 8.0


class Resolution(NamedTuple):
    """Numbers of samples: of a transform, between frames, and of the centered Hann window."""

    n_fft: int
    hop: int
    window: int


# Resolutions of the Jukebox paper: spectral convergence, and multi-resolution loss (B.1).
SINGLE = Resolution(2048, 256, 1536)
MULTI = (Resolution(2048, 240, 1200), Resolution(1024, 120, 600), Resolution(512, 50, 240))


def _magnitude_blocks(sound: np.ndarray, resolution: Resolution) -> Iterator[np.ndarray]:
    """Yields the magnitude spectrogram of centered frames, edges reflected, float64 [F, K] each."""
    n_fft, hop, window = resolution
    if len(sound) <= n_fft // 2:
        raise ValueError(
            f"{len(sound)} samples are too few for a spectrum of {n_fft}: give more than "
            f"{n_fft // 2}"
        )
    padded = np.pad(np.asarray(sound, np.float64), n_fft // 2, mode="reflect")
    padded = padded[(n_fft - window) // 2 :]  # magnitudes do not depend on the offset of the window
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    frames, weights = frames[: len(sound) // hop + 1], hann(window)
    for start in range(0, len(frames), _BLOCK):
        yield np.abs(np.fft.rfft(frames[start : start + _BLOCK] * weights, n_fft))


class SpectralDifference(NamedTuple):
    """The difference of two spectrograms.

    Attributes:
      distance: norm of the difference of the magnitudes (Jukebox, section 3.3).
      target_norm: norm of the target's magnitudes.
      log_distance: mean absolute difference of the natural logs of the magnitudes (+ 1e-4).
    """

    distance: float
    target_norm: float
    log_distance: float

    @property
    def convergence(self) -> float:
        """Returns the distance as a share of the target's norm; 0 for a silent target."""
        return self.distance / self.target_norm if self.target_norm > _QUIET else 0.0


def compare_spectra(
    target: np.ndarray, output: np.ndarray, resolution: Resolution = SINGLE
) -> SpectralDifference:
    """Compares the magnitude spectrograms of two sounds [time]."""
    difference = energy = logs = count = 0.0
    pairs = zip(
        _magnitude_blocks(target, resolution), _magnitude_blocks(output, resolution), strict=True
    )
    for a, b in pairs:
        difference += np.square(a - b).sum()
        energy += np.square(a).sum()
        logs += np.abs(np.log((a + _LOG_FLOOR) / (b + _LOG_FLOOR))).sum()
        count += a.size
    return SpectralDifference(math.sqrt(difference), math.sqrt(energy), logs / count)


def spectral_convergence(target: np.ndarray, output: np.ndarray) -> float:
    """Computes the spectral distance as a share of the target's norm; 0 for a silent target.

    Arik et al., "Fast Spectrogram Inversion using Multi-head Convolutional Neural Networks" (2018).
    """
    return compare_spectra(target, output).convergence


def decibels(ratio: float) -> float:
    """Converts a ratio of amplitudes to dB, the unit of convergence in the paper's table."""
    return 20 * math.log10(max(ratio, 1e-9))


def multi_resolution_stft(target: np.ndarray, output: np.ndarray) -> float:
    """Computes spectral convergence plus log magnitude distance, averaged over resolutions.

    Yamamoto et al., "Parallel WaveGAN" (2020), eq. 6, with the resolutions of the Jukebox paper.
    """
    differences = [compare_spectra(target, output, resolution) for resolution in MULTI]
    return sum(d.convergence + d.log_distance for d in differences) / len(differences)


def log_mel(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Computes the mel spectrogram in dB of a full-scale sine, at least -80: float64 [F, mels]."""
    filters = mel_filters(sample_rate).T
    resolution = Resolution(MEL_FFT, MEL_HOP, MEL_FFT)
    power = np.concatenate([block**2 @ filters for block in _magnitude_blocks(sound, resolution)])
    power /= full_scale_power(MEL_FFT)
    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _MEL_FLOOR_DB)


def mel_distance(target: np.ndarray, output: np.ndarray, sample_rate: int) -> float:
    """Computes the mean absolute difference of the log mel spectrograms in dB."""
    return float(np.abs(log_mel(target, sample_rate) - log_mel(output, sample_rate)).mean())


def si_sdr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Computes the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019).

    All channels are concatenated to one signal.

    Args:
      estimate, truth: [time, channels].
    """
    estimate = estimate.astype(np.float64).ravel()
    truth = truth.astype(np.float64).ravel()
    target = truth * (estimate @ truth) / max(float(truth @ truth), 1e-20)
    error = estimate - target
    ratio = max(float(target @ target), 1e-20) / max(float(error @ error), 1e-20)
    return float(10 * np.log10(ratio))


@functools.cache
def _load_visqol() -> Any:
    """Loads ViSQOL v3 (Chinen et al., 2020) with its model, from its Python package."""
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise ValueError(
            "ViSQOL needs the package visqol-python: omit the metric, or "
            f"{extras.format_install('visqol')}"
        ) from error
    api = VisqolApi()
    api.create(mode="audio")
    return api


def has_visqol() -> bool:
    """Returns true if ViSQOL is installed."""
    try:
        _load_visqol()
    except ValueError:
        return False
    return True


def visqol(target: np.ndarray, output: np.ndarray, sample_rate: int) -> float:
    """Predicts ratings with ViSQOL's audio model, from 1 (bad) to 4.73 (no audible difference).

    The model is for 5 to 10 s of audio: the loudest `VISQOL_SECONDS` of the target are used.

    Raises:
      ValueError: the package is not installed.
    """
    import soxr

    api = _load_visqol()
    start, stop = _find_loudest(target, round(VISQOL_SECONDS * sample_rate))
    excerpts = [
        soxr.resample(np.asarray(sound[start:stop], np.float64), sample_rate, VISQOL_RATE)
        for sound in (target, output)
    ]
    return float(api.measure_from_arrays(*excerpts, VISQOL_RATE).moslqo)


def _find_loudest(sound: np.ndarray, size: int) -> tuple[int, int]:
    """Returns start and stop of the `size` samples of most energy, on a grid of size / 8."""
    step = max(size // 8, 1)
    energy = np.add.reduceat(np.square(sound, dtype=np.float64), np.arange(0, len(sound), step))
    if len(energy) <= 8:
        return 0, len(sound)
    first = int(np.argmax(np.convolve(energy, np.ones(8), "valid"))) * step
    return first, min(first + size, len(sound))


def measure_fidelity(
    target: np.ndarray, output: np.ndarray, sample_rate: int, *, with_visqol: bool = False
) -> dict[str, float | None]:
    """Computes all figures of a pair, mono [time] each, of which the longer one is truncated.

    Keys: spectral_convergence_db, multi_resolution_stft, mel_db, si_sdr_db, and visqol_mos.

    Returns:
      None for figures that are undefined: those relative to a silent target, where convergence
      would be perfect, and the SI-SDR of a silent output.
    """
    length = min(len(target), len(output))
    target, output = target[:length], output[:length]
    is_silent = float(np.abs(target).max(initial=0.0)) < _SILENT_PEAK
    figures = {
        "spectral_convergence_db": (
            None if is_silent else decibels(spectral_convergence(target, output))
        ),
        "multi_resolution_stft": None if is_silent else multi_resolution_stft(target, output),
        "mel_db": mel_distance(target, output, sample_rate),
        "si_sdr_db": None if is_silent or not np.any(output) else si_sdr(output, target),
    }
    if with_visqol:
        figures["visqol_mos"] = None if is_silent else visqol(target, output, sample_rate)
    return figures
