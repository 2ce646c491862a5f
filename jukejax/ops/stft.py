"""Spectrograms and the reconstruction losses of the VQ-VAE (Jukebox, section 3.3 and appendix B.1).

Signals are [batch, time, channels] in [-1, 1]; spectra are those of the mean of the channels.
Losses per item are [batch], not divided by the data set's `Bandwidth`.
Letters: B batch, T time, F frames, K frequency bins.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import dft


@dataclass(frozen=True)
class STFT:
    """A short-time Fourier transform: centered frames, reflected edges, periodic Hann window.

    Attributes:
      n_fft: samples of a transform.
      hop: samples between frames.
      window: samples of the Hann window, centered in `n_fft`.
    """

    n_fft: int
    hop: int
    window: int

    def __post_init__(self) -> None:
        if not 0 < self.window <= self.n_fft or self.hop < 1:
            raise ValueError(f"{self}: needs 0 < window <= n_fft and hop >= 1")

    @property
    def hann(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)


SINGLE = STFT(n_fft=2048, hop=256, window=1536)
MULTI = (STFT(2048, 240, 1200), STFT(1024, 120, 600), STFT(512, 50, 240))


def magnitudes(audio: jax.Array, stft: STFT = SINGLE) -> jax.Array:
    """Computes the magnitude spectrogram of one channel.

    [B, T] -> [B, F, K] with F = T // hop + 1, K = n_fft // 2 + 1.

    Magnitudes do not depend on the position of the window in the frame, so that only the samples
    under the window are transformed.

    Raises:
      ValueError: the audio is not longer than half of `n_fft`, which reflected edges need.
    """
    batch, length = audio.shape
    pad = stft.n_fft // 2
    if length <= pad:
        raise ValueError(
            f"{length} samples are too few for n_fft {stft.n_fft}: give more than {pad}"
        )
    audio = jnp.pad(audio, ((0, 0), (pad, pad)), mode="reflect")
    audio = audio[:, (stft.n_fft - stft.window) // 2 :]
    num_frames = length // stft.hop + 1
    frames = _frames(audio, num_frames, stft.hop, stft.window) * stft.hann.astype(np.float32)
    power = dft.power_spectrum(frames.reshape(batch * num_frames, stft.window), stft.n_fft)
    return _safe_sqrt(power).reshape(batch, num_frames, -1)


def _frames(audio: jax.Array, num_frames: int, hop: int, window: int) -> jax.Array:
    """Cuts overlapping frames by shifts of rows of `hop` samples.

    Without a gather, whose backward pass would be a scatter.

    [B, T] -> [B, num_frames, window]
    """
    shifts = -(-window // hop)
    rows = num_frames + shifts - 1
    num_samples = rows * hop
    audio = jnp.pad(audio, ((0, 0), (0, max(0, num_samples - audio.shape[1]))))[:, :num_samples]
    audio = audio.reshape(audio.shape[0], rows, hop)
    frames = [audio[:, i : i + num_frames] for i in range(shifts)]
    return jnp.concatenate(frames, axis=-1)[:, :, :window]


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Computes the square root, with gradient 0 at 0: digital silence must not give NaN."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def _norm(x: jax.Array) -> jax.Array:
    """Computes the Euclidean norm of each item. [B, ...] -> [B]."""
    return _safe_sqrt(jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim))))


def _mono_magnitudes(audio: jax.Array, stft: STFT) -> jax.Array:
    """Computes the magnitude spectrogram of the channels' mean. [B, T, C] -> [B, F, K].

    That of the target occurs in the losses of all levels; XLA computes the common expression once.
    """
    return magnitudes(audio.astype(jnp.float32).mean(axis=-1), stft)


def spectral_loss(target: jax.Array, output: jax.Array, stft: STFT = SINGLE) -> jax.Array:
    """Computes the distance of the magnitude spectrograms. [B, T, C] -> [B]."""
    return _norm(_mono_magnitudes(target, stft) - _mono_magnitudes(output, stft))


def multispectral_loss(
    target: jax.Array, output: jax.Array, stfts: tuple[STFT, ...] = MULTI
) -> jax.Array:
    """Computes `spectral_loss` averaged over several resolutions. [B, T, C] -> [B]."""
    losses = [spectral_loss(target, output, stft) for stft in stfts]
    return sum(losses[1:], losses[0]) / len(stfts)


def spectral_convergence(
    target: jax.Array, output: jax.Array, stft: STFT = SINGLE, *, epsilon: float = 2e-3
) -> jax.Array:
    """Computes `spectral_loss` relative to the target's norm; 0 for a silent target. -> [B]."""
    target_magnitudes = _mono_magnitudes(target, stft)
    size = _norm(target_magnitudes)
    distance = _norm(target_magnitudes - _mono_magnitudes(output, stft))
    return jnp.where(size > epsilon, distance, 0.0) / jnp.maximum(size, epsilon)


def log_magnitude_loss(
    target: jax.Array, output: jax.Array, stft: STFT = SINGLE, *, epsilon: float = 1e-4
) -> jax.Array:
    """Computes the mean absolute difference of the log magnitudes. -> scalar."""
    logs = [jnp.log(_mono_magnitudes(audio, stft) + epsilon) for audio in (target, output)]
    return jnp.mean(jnp.abs(logs[0] - logs[1]))


def l1(target: jax.Array, output: jax.Array) -> jax.Array:
    """Computes the mean absolute residual. -> scalar."""
    residual = output - target
    # The gradient of jnp.abs is 1 at 0, where PyTorch's (and sign's) is 0.
    return jnp.mean(residual * jnp.sign(residual))


def l2(target: jax.Array, output: jax.Array) -> jax.Array:
    """Computes the mean squared residual. -> scalar."""
    return jnp.mean(jnp.square(output - target))


def linf(target: jax.Array, output: jax.Array, *, k: int) -> jax.Array:
    """Computes the mean of each item's `k` largest squared residuals. -> scalar."""
    residuals = jnp.square(output - target).reshape(target.shape[0], -1)
    if k > residuals.shape[1]:
        raise ValueError(
            f"linf_k {k} exceeds the window's {residuals.shape[1]} samples: lower linf_k"
        )
    return jnp.mean(lax.top_k(residuals, k)[0])


@dataclass(frozen=True)
class Bandwidth:
    """The scale of a data set's signals, which makes losses comparable between data sets.

    Attributes:
      l1: mean absolute sample.
      l2: variance of the samples.
      spec: mean norm of an item's magnitude spectrogram.
    """

    l1: float
    l2: float
    spec: float


def measure_bandwidth(
    items: Iterable[np.ndarray], *, max_values: float = np.inf, stft: STFT = SINGLE
) -> Bandwidth:
    """Measures the bandwidth of signals, in float64.

    Args:
      items: float arrays [time, channels], all of one length for a meaningful `spec`.
      max_values: number of samples, over all channels, after which no further item is read.
    """
    absolute = total = squared = norms = 0.0
    values = count = 0
    for item in items:
        item = np.asarray(item, np.float64)
        norms += _spectrum_norm(item.mean(axis=1), stft)
        absolute += np.abs(item).sum()
        total += item.sum()
        squared += np.square(item).sum()
        values += item.size
        count += 1
        if values >= max_values:
            break
    if not values:
        raise ValueError("the bandwidth needs at least one window of audio: the split is empty")
    return Bandwidth(
        l1=float(absolute / values),
        l2=float(squared / values - (total / values) ** 2),
        spec=float(norms / count),
    )


def _spectrum_norm(audio: np.ndarray, stft: STFT) -> float:
    """Computes the norm of the magnitude spectrogram of one signal [T], in float64."""
    audio = np.pad(audio, stft.n_fft // 2, mode="reflect")
    audio = audio[(stft.n_fft - stft.window) // 2 :]
    frames = np.lib.stride_tricks.sliding_window_view(audio, stft.window)[:: stft.hop]
    num_frames = (len(audio) - stft.window - (stft.n_fft - stft.window + 1) // 2) // stft.hop + 1
    return float(np.linalg.norm(np.fft.rfft(frames[:num_frames] * stft.hann, stft.n_fft)))
