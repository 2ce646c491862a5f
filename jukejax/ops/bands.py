"""Log spectra of audio in bands, without phase: what a code of the top level is to describe.

A long window resolves semitones from 39 Hz to 2.2 kHz, a short one drum strokes up to 16 kHz.
Letters: B batch, T time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.ops.stft import STFT, magnitudes

SEMITONES = 70  # bands of the long window
MELS = 32  # bands of the short window
NUM_BANDS = SEMITONES + MELS
LOWEST = 55 * 2 ** (-6 / 12)  # Hz, lower edge of the lowest semitone's filter
LONGEST = 8192  # samples of the longest transform
HIGHEST = 16_000.0  # Hz, upper edge of the highest band
FLOOR = 0.3  # added to mean magnitudes: a sine of -54 dB in the long window


def log_bands(audio: jax.Array, hop: int, sample_rate: int = 44_100) -> jax.Array:
    """Computes log mean magnitudes by band. [B, T] -> [B, T // hop, NUM_BANDS]."""
    spectra = []
    for stft, filters in _filter_banks(hop, sample_rate):
        frames = magnitudes(audio, stft)[:, : audio.shape[1] // hop]
        spectra.append(jnp.log(frames @ filters + FLOOR))
    return jnp.concatenate(spectra, axis=-1)


@functools.cache
def _filter_banks(hop: int, sample_rate: int) -> tuple[tuple[STFT, np.ndarray], ...]:
    """Returns both transforms with their filters, float32 [frequencies, bands]."""
    semitones = LOWEST * 2 ** (np.arange(SEMITONES + 2) / 12)
    mels = _to_hz(np.linspace(0, _to_mel(HIGHEST), MELS + 2))
    long, short = STFT(LONGEST, hop, 4096), STFT(1024, hop, 512)
    return (
        (long, _triangles(long.n_fft, semitones, sample_rate)),
        (short, _triangles(short.n_fft, mels, sample_rate)),
    )


def _to_mel(hz: float | np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def _to_hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _triangles(n_fft: int, edges: np.ndarray, sample_rate: int) -> np.ndarray:
    """Returns triangular filters of sum 1 between neighboring edges; a narrow one is one bin."""
    frequencies = np.arange(n_fft // 2 + 1)[:, None] * sample_rate / n_fft
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequencies - low) / (center - low)
    fall = (high - frequencies) / (high - center)
    filters = np.maximum(0, np.minimum(rise, fall))
    empty = filters.sum(axis=0) == 0
    nearest = np.abs(frequencies - center).argmin(axis=0)
    filters[nearest[empty], np.flatnonzero(empty)] = 1
    return (filters / filters.sum(axis=0)).astype(np.float32)
