"""Distances between two sets of music as distributions of embeddings.

Distances are comparable only for the same embedding and number of rows (which
`evaluation.comparison.compare_embeddings` ensures). The figures here are not the
published "FAD", which has another embedding.
Letters: N rows (segments of music), E features, F frames, M mel bands.
"""

from dataclasses import dataclass

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the Frechet distance of the Gaussians fitted to two sets, [N, E] each.

    This is the squared 2-Wasserstein distance, |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)):
    Heusel et al. (2017); for audio Kilgour et al., "Frechet Audio Distance" (2019). It grows as N
    falls: compare sets of equal size only.
    """
    a, b = _check_shapes(a, b)
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    spread = np.square(root_a).sum() + np.square(root_b).sum()
    # The eigenvalues of C_a C_b are the squared singular values of A B' where C = A' A.
    common = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(max(shift + spread - 2 * common, 0.0))


def _covariance_root(x: np.ndarray) -> np.ndarray:
    """Returns a matrix A [min(N, E), E] with A' A equal to the covariance of x."""
    centered = (x - x.mean(axis=0)) / np.sqrt(max(len(x) - 1, 1))
    if len(x) <= x.shape[1]:
        return centered
    return np.asarray(np.linalg.qr(centered, mode="r"))


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the squared maximum mean discrepancy of two sets, [N, E] each.

    Unbiased, so it may be negative. Kernel (x.y / E + 1)^3: Binkowski et al., "Demystifying MMD
    GANs" (2018). Reliable with few rows, where `frechet_distance` is not. Features should have
    equal scales (`Standardizer`).

    Raises:
      ValueError: a set has fewer than 2 rows.
    """
    a, b = _check_shapes(a, b)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} pieces: both need at least 2")
    cross = float(_cubic_kernel(a, b).mean())
    return (
        _mean_off_diagonal(_cubic_kernel(a, a))
        + _mean_off_diagonal(_cubic_kernel(b, b))
        - (2 * cross)
    )


def _cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    return float((matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1)))


@dataclass(frozen=True)
class Standardizer:
    """Scales features to the mean 0 and standard deviation 1 that they have over a reference set.

    Attributes:
      center, scale: [E].
    """

    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> "Standardizer":
        """Fits a set [N, E].

        The scale of a feature is at least half the median scale: a feature that is almost constant
        in the set would otherwise dominate the distance to any other set.
        """
        center, scale = x.mean(axis=0), x.std(axis=0)
        median = np.median(scale[scale > 0]) if np.any(scale > 0) else 1.0
        return cls(center, np.maximum(scale, 0.5 * median))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x - self.center) / self.scale


def _check_shapes(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(f"embeddings of shapes {a.shape} and {b.shape}: both must be [N, E]")
    return a, b


def mel_statistics(mel: np.ndarray) -> np.ndarray:
    """Computes an embedding without a model: mean and spread of each mel band and of its changes.

    It describes spectrum and dynamics in dB, not musical content.

    Args:
      mel: in dB, [F, M] (`fidelity.log_mel`).

    Returns:
      float64 [4 * M].
    """
    changes = np.diff(mel, axis=0) if len(mel) > 1 else np.zeros_like(mel)
    statistics = [mel.mean(axis=0), mel.std(axis=0), changes.std(axis=0)]
    return np.concatenate([*statistics, np.abs(changes).mean(axis=0)])
