"""How far two sets of music are apart as distributions of embeddings.

What an embedding is, is the caller's matter: the distance can only be compared with another one
that was taken with the same embedding and as many pieces (`comparison.distances` sees to both).
The figures here are not the published "FAD", whose embedding is another.
Letters: N rows (pieces of music), E features.
"""

from collections.abc import Callable

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the Gaussians fitted to two sets, [N, E] each (Frechet; Wasserstein-2 squared).

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)): Heusel et al. (2017); for audio Kilgour et
    al., "Frechet Audio Distance" (2019). It grows as N falls: compare sets of equal size only.
    """
    a, b = _two(a, b)
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    left, right = (_scatter(x) for x in (a, b))
    spread = np.square(left).sum() + np.square(right).sum()
    # The eigenvalues of C_a C_b are the squared singular values of A B' where C = A' A.
    common = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    return float(max(shift + spread - 2 * common, 0.0))


def _scatter(x: np.ndarray) -> np.ndarray:
    """A root of the covariance: [min(N, E), E], whose own product over rows it is."""
    centred = (x - x.mean(axis=0)) / np.sqrt(max(len(x) - 1, 1))
    return np.linalg.qr(centred, mode="r") if len(x) > x.shape[1] else centred


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared maximum mean discrepancy of two sets, [N, E] each; unbiased, so it may be under 0.

    Kernel (x.y / E + 1)^3: Binkowski et al., "Demystifying MMD GANs" (2018). Trustworthy with few
    rows, where `frechet_distance` is not. Features should be of one scale (`standardiser`).
    """
    a, b = _two(a, b)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} pieces: both need at least 2")

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        products = kernel(x, x)
        return (products.sum() - np.trace(products)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def standardiser(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What brings features to mean 0 and spread 1 over a set [N, E].

    A feature that hardly moves in the set counts as if it moved half as much as the median one:
    else the least departure of another set in it would outweigh all else.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    usual = np.median(scale[scale > 0]) if np.any(scale > 0) else 1.0
    scale = np.maximum(scale, 0.5 * usual)
    return lambda y: (y - centre) / scale


def _two(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(f"embeddings of shapes {a.shape} and {b.shape}: both must be [N, E]")
    return a, b


def mel_statistics(mel: np.ndarray) -> np.ndarray:
    """An embedding that needs no model: mean and spread of each mel band, and of its motion.

    In dB, so it is spectrum and dynamics, no music.

    Args:
      mel: in dB, [F, mels] (`fidelity.log_mel`).

    Returns:
      float64 [4 * mels].
    """
    motion = np.diff(mel, axis=0) if len(mel) > 1 else np.zeros_like(mel)
    parts = [mel.mean(axis=0), mel.std(axis=0), motion.std(axis=0), np.abs(motion).mean(axis=0)]
    return np.concatenate(parts)
