"""Descriptions of the audio in one band of frequencies, which the codes of that band encode.

"tones" are log magnitudes by semitone in a long window, "strokes" log magnitudes by mel band in a
short one, both without phase; "waveform" is a short-time spectrum with phase. Frames have zeros
beyond both ends of the audio. Letters: B batch, T time, N frames.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import dft
from jukejax.ops.frames import cut_frames

KINDS = ("tones", "strokes", "waveform")
# Added to magnitudes in logarithms: sines of -54 and -50 dB.
FLOORS = {"tones": 0.3, "strokes": 0.06}
HOPS = {"tones": 512, "strokes": 128}  # samples between frames of log magnitudes
SPANS = {"tones": 8, "strokes": 4, "waveform": 8}  # length of a window in hops
_NUM_MELS = 32
_HIGHEST_MEL = 16_000.0  # Hz


def count_window(kind: str, hop: int | None = None) -> int:
    """Returns the samples of a window of a description.

    Args:
      hop: samples between frames, for a "waveform"; "tones" and "strokes" have those of `HOPS`.
    """
    return SPANS[kind] * (HOPS[kind] if hop is None else HOPS.get(kind, hop))


def describe_band(
    audio: jax.Array, kind: str, low: float, high: float, *, hop: int, sample_rate: int
) -> jax.Array:
    """Describes the band [low, high) Hz of audio [B, T], with T a multiple of `hop`.

    "tones" and "strokes" are log magnitudes of the bands whose centers lie in the range, of
    hop / HOPS frames each; "waveform" is the real part, the imaginary part and the log magnitude of
    each bin. Magnitudes of complex bins are compressed by a square root, as they span 60 dB.

    Returns:
      float32 [B, T / hop, features], about 1 in size.
    """
    audio = audio.astype(jnp.float32)
    if kind == "waveform":
        return _describe_waveform(audio, low, high, hop=hop, sample_rate=sample_rate)
    logs = log_magnitudes(audio, kind, low, high, sample_rate=sample_rate)
    per_code = hop // HOPS[kind]
    return (logs.reshape(logs.shape[0], -1, per_code * logs.shape[-1]) - 1.0) / 1.5


def log_magnitudes(
    audio: jax.Array, kind: str, low: float, high: float, *, sample_rate: int
) -> jax.Array:
    """Computes log magnitudes of the bands with centers in [low, high) Hz.

    [B, T] -> [B, T / HOPS[kind], bands].
    """
    frames = cut_frames(audio, HOPS[kind], SPANS[kind])
    return measure_frames(frames, kind, low, high, sample_rate=sample_rate)


def measure_frames(
    frames: jax.Array, kind: str, low: float, high: float, *, sample_rate: int
) -> jax.Array:
    """Computes `log_magnitudes` of frames. [B, N, window] -> [B, N, bands]."""
    window = make_window(kind).astype(np.float32)
    n_fft = 2 * len(window)
    power = dft.power_spectrum(frames.reshape(-1, len(window)) * window, n_fft)
    filters = make_filters(kind, low, high, n_fft, sample_rate)
    logs = jnp.log(jnp.sqrt(power + 1e-12) @ filters + FLOORS[kind])
    return logs.reshape(*frames.shape[:2], filters.shape[-1])


def compute_magnitudes(logs: jax.Array, kind: str) -> jax.Array:
    """Computes the magnitudes of `log_magnitudes`, its inverse."""
    return jnp.maximum(jnp.exp(logs) - FLOORS[kind], 0)


def count_bands(kind: str, low: float, high: float) -> int:
    """Returns the number of bands of "tones" or "strokes" with centers in [low, high) Hz."""
    return len(select_centers(kind, low, high))


def select_centers(kind: str, low: float, high: float) -> np.ndarray:
    """Returns the centers of the bands of "tones" or "strokes" in [low, high) Hz."""
    centers = _edges(kind)[1:-1]
    return centers[(centers >= low) & (centers < high)]


def make_window(kind: str) -> np.ndarray:
    """Returns the Hann window of "tones" or "strokes", float64 [samples]."""
    return np.hanning(SPANS[kind] * HOPS[kind] + 1)[:-1]


class BandSize(NamedTuple):
    """The size of a description, for one code.

    Attributes:
      features: of the description.
      macs: multiplications that compute it.
      shared_macs: those of the Fourier transform, which all descriptions of a kind share.
    """

    features: int
    macs: int
    shared_macs: int


def measure_band(kind: str, low: float, high: float, *, hop: int, sample_rate: int) -> BandSize:
    """Returns the size of the description of a band with `hop` samples a code."""
    if kind == "waveform":
        window = SPANS[kind] * hop
        bins = _make_basis(window, low, high, sample_rate)[0].shape[1]
        return BandSize(3 * bins, 2 * window * bins, 0)
    frames, window = hop // HOPS[kind], SPANS[kind] * HOPS[kind]
    num_bands = count_bands(kind, low, high)
    transform = dft.count_macs(window, 2 * window)
    return BandSize(frames * num_bands, frames * (window + 1) * num_bands, frames * transform)


def _describe_waveform(
    audio: jax.Array, low: float, high: float, *, hop: int, sample_rate: int
) -> jax.Array:
    real, imaginary = _make_basis(SPANS["waveform"] * hop, low, high, sample_rate)
    frames = cut_frames(audio, hop, SPANS["waveform"])
    parts = [
        jnp.matmul(frames, basis, precision=lax.Precision.HIGHEST) for basis in (real, imaginary)
    ]
    power = jnp.square(parts[0]) + jnp.square(parts[1])
    compressed = [part * jnp.power(power + 1e-4, -0.25) for part in parts]
    logs = (0.5 * jnp.log(power + 1e-4) + 1.0) / 2.0
    return jnp.concatenate([*compressed, logs], axis=-1)


@functools.cache
def _make_basis(
    window: int, low: float, high: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns windowed cosines and sines of the bins in [low, high) Hz, float32 [window, bins]."""
    bins = np.arange(window // 2 + 1)
    frequencies = bins * sample_rate / window
    bins = bins[(frequencies >= low) & (frequencies < high)]
    time = np.arange(window) - (window - 1) / 2
    angles = 2 * np.pi * np.outer(time, bins) / window
    hann = np.hanning(window + 2)[1:-1, None]
    hann = hann / np.sqrt(np.sum(np.square(hann)))
    return (np.cos(angles) * hann).astype(np.float32), (np.sin(angles) * hann).astype(np.float32)


def _edges(kind: str) -> np.ndarray:
    """Returns the edges of the triangular bands, in Hz: band i lies from edge i to edge i + 2."""
    if kind == "tones":
        return 55 * 2 ** (np.arange(-7, 66) / 12)  # centers from 38.9 Hz to 2.2 kHz
    mels = np.linspace(0, 2595 * np.log10(1 + _HIGHEST_MEL / 700), _NUM_MELS + 2)
    return 700 * (10 ** (mels / 2595) - 1)


@functools.cache
def make_filters(kind: str, low: float, high: float, n_fft: int, sample_rate: int) -> np.ndarray:
    """Returns triangular filters of sum 1, float32 [frequencies, bands]; a narrow one is a bin."""
    edges = _edges(kind)
    frequencies = np.arange(n_fft // 2 + 1)[:, None] * sample_rate / n_fft
    first, center, last = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequencies - first) / (center - first)
    fall = (last - frequencies) / (last - center)
    filters = np.maximum(0, np.minimum(rise, fall))
    empty = filters.sum(axis=0) == 0
    nearest = np.abs(frequencies - center).argmin(axis=0)
    filters[nearest[empty], np.flatnonzero(empty)] = 1
    inside = (center >= low) & (center < high)
    return (filters / filters.sum(axis=0))[:, inside].astype(np.float32)
