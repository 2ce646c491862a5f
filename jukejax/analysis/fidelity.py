"""How close a reconstruction is to its original: spectra, waveform, and what listeners would say.

Sounds are mono, [time] in [-1, 1], of equal length. Spectra are worked through in blocks of
frames, so that a whole track fits. NumPy only, in float64: `ops/stft.py` has the same figures for
training, and a test holds both to OpenAI's.
Letters: F frames, K frequency bins.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jukejax.analysis.mel import full_scale_power, hann, mel_filters

_BLOCK = 2048  # frames worked on at once
_QUIET = 2e-3  # norm of a spectrogram under which a sound counts as silent, as in training
_LOG_FLOOR = 1e-4
_MEL_FLOOR_DB = -80.0
MEL_FFT, MEL_HOP = 2048, 512
SHORTEST = MEL_FFT // 2  # samples: a sound must have more
VISQOL_RATE, VISQOL_SECONDS = 48_000, 8.0


class Resolution(NamedTuple):
    """Of a spectrogram: samples of a transform, between frames, and of the centred Hann window."""

    n_fft: int
    hop: int
    window: int


# Those of the Jukebox paper: its spectral convergence, and its multi-resolution loss (B.1).
SINGLE = Resolution(2048, 256, 1536)
MULTI = (Resolution(2048, 240, 1200), Resolution(1024, 120, 600), Resolution(512, 50, 240))


def _blocks(sound: np.ndarray, resolution: Resolution) -> Iterator[np.ndarray]:
    """Magnitudes, block after block of frames: float64 [F, K] each."""
    n_fft, hop, window = resolution
    if len(sound) <= n_fft // 2:
        raise ValueError(
            f"{len(sound)} samples are too few for a spectrum of {n_fft}: give more than "
            f"{n_fft // 2}"
        )
    padded = np.pad(np.asarray(sound, np.float64), n_fft // 2, mode="reflect")
    padded = padded[(n_fft - window) // 2 :]  # a magnitude does not feel where the window lies
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    frames, weights = frames[: len(sound) // hop + 1], hann(window)
    for start in range(0, len(frames), _BLOCK):
        yield np.abs(np.fft.rfft(frames[start : start + _BLOCK] * weights, n_fft))


def magnitudes(sound: np.ndarray, resolution: Resolution = SINGLE) -> np.ndarray:
    """Magnitude spectrogram, centred frames with reflected edges: float64 [F, K]."""
    return np.concatenate(list(_blocks(sound, resolution)))


class _Difference(NamedTuple):
    """Of two spectrograms: norms, and the mean absolute difference of the log magnitudes."""

    distance: float
    size: float
    log: float


def _difference(target: np.ndarray, output: np.ndarray, resolution: Resolution) -> _Difference:
    squares = size = logs = count = 0.0
    pairs = zip(_blocks(target, resolution), _blocks(output, resolution), strict=True)
    for a, b in pairs:
        squares += np.square(a - b).sum()
        size += np.square(a).sum()
        logs += np.abs(np.log((a + _LOG_FLOOR) / (b + _LOG_FLOOR))).sum()
        count += a.size
    return _Difference(math.sqrt(squares), math.sqrt(size), logs / count)


def spectral_distance(
    target: np.ndarray, output: np.ndarray, resolution: Resolution = SINGLE
) -> float:
    """Norm of the difference of the magnitude spectrograms (Jukebox, section 3.1)."""
    return _difference(target, output, resolution).distance


def multispectral_distance(target: np.ndarray, output: np.ndarray) -> float:
    """`spectral_distance` averaged over the paper's three resolutions."""
    return sum(spectral_distance(target, output, shape) for shape in MULTI) / len(MULTI)


def spectral_convergence(target: np.ndarray, output: np.ndarray) -> float:
    """`spectral_distance` as a share of the target's norm; 0 where the target is silent.

    Arik et al., "Fast Spectrogram Inversion using Multi-head Convolutional Neural Networks" (2018).
    """
    found = _difference(target, output, SINGLE)
    return found.distance / found.size if found.size > _QUIET else 0.0


def decibels(ratio: float) -> float:
    """20 log10 of a ratio of amplitudes, as the paper's table of fidelity has the convergence."""
    return 20 * math.log10(max(ratio, 1e-9))


def log_magnitude_distance(
    target: np.ndarray, output: np.ndarray, resolution: Resolution = SINGLE
) -> float:
    """Mean absolute difference of the natural logs of the magnitudes (+ 1e-4)."""
    return _difference(target, output, resolution).log


def multi_resolution_stft(target: np.ndarray, output: np.ndarray) -> float:
    """Spectral convergence plus log magnitude distance, averaged over three resolutions.

    Yamamoto et al., "Parallel WaveGAN" (2020), eq. 6, with the resolutions of the Jukebox paper.
    """
    found = [_difference(target, output, shape) for shape in MULTI]
    terms = [(d.distance / d.size if d.size > _QUIET else 0.0) + d.log for d in found]
    return sum(terms) / len(terms)


def log_mel(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mel spectrogram in dB, at least -80 under a full-scale sine: float64 [F, mels]."""
    filters = mel_filters(sample_rate).T
    shape = Resolution(MEL_FFT, MEL_HOP, MEL_FFT)
    power = np.concatenate([block**2 @ filters for block in _blocks(sound, shape)])
    power /= full_scale_power(MEL_FFT)
    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _MEL_FLOOR_DB)


def mel_distance(target: np.ndarray, output: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference of the log mel spectrograms in dB."""
    return float(np.abs(log_mel(target, sample_rate) - log_mel(output, sample_rate)).mean())


def si_sdr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019), all channels in one.

    Args:
      estimate, truth: [time, channels].
    """
    estimate = estimate.astype(np.float64).ravel()
    truth = truth.astype(np.float64).ravel()
    target = truth * (estimate @ truth) / max(truth @ truth, 1e-20)
    error = estimate - target
    return float(10 * np.log10(max(target @ target, 1e-20) / max(error @ error, 1e-20)))


@functools.cache
def _visqol():
    """Google's ViSQOL v3 (Chinen et al., 2020) in its Python form, which carries its model."""
    try:
        from visqol import VisqolApi
    except ImportError as error:
        raise ValueError(
            "ViSQOL needs the package visqol-python: pip install 'jukejax[visqol]', or leave the "
            "metric away"
        ) from error
    api = VisqolApi()
    api.create(mode="audio")
    return api


def has_visqol() -> bool:
    """Whether `visqol` can be asked here."""
    try:
        _visqol()
    except ValueError:
        return False
    return True


def visqol(target: np.ndarray, output: np.ndarray, sample_rate: int) -> float:
    """What listeners would say by ViSQOL's audio model, 1 (bad) to 4.73 (no difference heard).

    Its makers ask for pieces of 5 to 10 s: the loudest `VISQOL_SECONDS` of the target are taken.

    Raises:
      ValueError: the package is not installed.
    """
    import soxr

    api = _visqol()
    start, stop = _loudest(target, round(VISQOL_SECONDS * sample_rate))
    pieces = [
        soxr.resample(np.asarray(sound[start:stop], np.float64), sample_rate, VISQOL_RATE)
        for sound in (target, output)
    ]
    return float(api.measure_from_arrays(*pieces, VISQOL_RATE).moslqo)


def _loudest(sound: np.ndarray, size: int) -> tuple[int, int]:
    """Where the `size` samples of the most energy begin and end, on a grid of their eighths."""
    step = max(size // 8, 1)
    energy = np.add.reduceat(np.square(sound, dtype=np.float64), np.arange(0, len(sound), step))
    if len(energy) <= 8:
        return 0, len(sound)
    first = int(np.argmax(np.convolve(energy, np.ones(8), "valid"))) * step
    return first, min(first + size, len(sound))


def figures(
    target: np.ndarray, output: np.ndarray, sample_rate: int, *, with_visqol: bool = False
) -> dict[str, float]:
    """All of them for one pair, mono [time] each; the longer one is cut to the shorter.

    Keys: spectral_convergence_db, multi_resolution_stft, mel_db, si_sdr_db, and visqol_mos.
    """
    length = min(len(target), len(output))
    target, output = target[:length], output[:length]
    found = {
        "spectral_convergence_db": decibels(spectral_convergence(target, output)),
        "multi_resolution_stft": multi_resolution_stft(target, output),
        "mel_db": mel_distance(target, output, sample_rate),
        "si_sdr_db": si_sdr(output, target),
    }
    if with_visqol:
        found["visqol_mos"] = visqol(target, output, sample_rate)
    return found
