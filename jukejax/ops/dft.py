"""The discrete Fourier transform of real frames as matrix products (one Cooley-Tukey step).

NOTE: `jnp.fft` is not used under `jit`: XLA's CPU runtime of jaxlib 0.11 blocks forever when FFTs
of one program run at once (since openxla/xla pull request 46347). TPUs have no fast FFT either.

With N = N1 * N2, n = N2 * n1 + n2 and k = k1 + N1 * k2,

    X[k] = sum over n2 of exp(-2 pi i n2 k / N) * sum over n1 of exp(-2 pi i n1 k1 / N1) x[n],

two products: the inner sum, of the same matrix for all n2, and the outer one, of a matrix for each
k1. The input is real, so X[N - k] is the conjugate of X[k], and k1 = 0 ... N1 / 2 is enough.

Letters: F frames, W samples of a frame, R = ceil(W / N2) rows with samples, K1 = N1 / 2 + 1.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LARGEST_FACTOR = 64  # N1; fastest of 8, 16, 32 and 64 for n_fft 512 to 2048 on CPUs


def power_spectrum(frames: jax.Array, n_fft: int) -> jax.Array:
    """Computes |X[k]|^2 of zero-padded frames. float32 [F, W] -> [F, n_fft // 2 + 1], W <= n_fft.

    Fastest for multiples of 128; correct for any `n_fft`.
    """
    rows, columns = _factorize(n_fft)
    num_frames, window = frames.shape
    filled = -(-window // columns)
    frames = jnp.pad(frames, ((0, 0), (0, filled * columns - window)))
    by_row = frames.reshape(num_frames, filled, columns).transpose(1, 0, 2)  # [R, F, N2]
    inner, outer = _matrices(rows, columns, filled)
    # Full float32 where the default precision is lower: TF32 on GPUs, bfloat16 on TPUs.
    partial_sums = jnp.matmul(
        inner, by_row.reshape(filled, -1), precision=lax.Precision.HIGHEST
    ).reshape(-1, 2, num_frames, columns)  # [K1, (real, imaginary), F, N2]
    partial_sums = partial_sums.transpose(0, 2, 1, 3).reshape(-1, num_frames, 2 * columns)
    spectrum = jnp.matmul(partial_sums, outer, precision=lax.Precision.HIGHEST)
    real, imaginary = jnp.split(spectrum, 2, axis=-1)
    return _order_bins(jnp.square(real) + jnp.square(imaginary))


def count_macs(window: int, n_fft: int) -> int:
    """Counts the multiplications of `power_spectrum` for one frame of `window` samples."""
    rows, columns = _factorize(n_fft)
    blocks, filled = rows // 2 + 1, -(-window // columns)
    return blocks * (2 * filled * columns + (2 * columns) ** 2)


def make_waves(frequencies: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosines and sines of frequencies [K] in turns a sample, float32 [K, samples]."""
    angles = 2 * np.pi * np.outer(frequencies, np.arange(samples))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _factorize(n_fft: int) -> tuple[int, int]:
    """Returns N1 and N2: N1 a power of two and N2 even, or N1 = 1."""
    rows = math.gcd(n_fft // 2, _LARGEST_FACTOR) if n_fft % 2 == 0 else 1
    return rows, n_fft // rows


@functools.cache
def _matrices(rows: int, columns: int, filled: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inner matrix [2 K1, R] and the outer ones [K1, 2 N2, 2 N2]."""
    n_fft = rows * columns
    k1 = np.arange(rows // 2 + 1)
    inner = _roots_of_unity(np.outer(k1, np.arange(filled)), rows)
    bins = k1[:, None] + rows * np.arange(columns)  # [K1, N2]
    outer = _roots_of_unity(np.arange(columns)[:, None] * bins[:, None, :], n_fft)
    of_real = np.concatenate([outer.real, outer.imag], axis=-1)
    of_imaginary = np.concatenate([-outer.imag, outer.real], axis=-1)
    return (
        np.stack([inner.real, inner.imag], axis=1).reshape(-1, filled).astype(np.float32),
        np.concatenate([of_real, of_imaginary], axis=1).astype(np.float32),
    )


def _roots_of_unity(exponents: np.ndarray, n: int) -> np.ndarray:
    """Computes exp(-2 pi i * exponents / n) in complex128, exponents reduced modulo n."""
    return np.exp(-2j * np.pi / n * (exponents % n))


def _order_bins(power: jax.Array) -> jax.Array:
    """Orders powers by frequency. [K1, F, N2], of bins k1 + N1 * k2 -> [F, N // 2 + 1].

    Bins whose remainder by N1 is above N1 / 2 are those of the conjugates N - k.
    """
    num_frames, columns = power.shape[1:]
    half = columns // 2
    lower = power[:, :, :half]
    conjugates = power[1:-1, :, columns - half :][::-1, :, ::-1]
    ordered = jnp.concatenate([lower, conjugates]).transpose(1, 2, 0).reshape(num_frames, -1)
    return jnp.concatenate([ordered, power[0, :, half:][:, :1]], axis=-1)
