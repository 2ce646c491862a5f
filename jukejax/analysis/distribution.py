"""Distances between two sets of music as distributions of embeddings.

Distances are comparable only for the same embedding. There is no Frechet distance: with fewer
pieces than features, as usual, it measures spread (a set of equal pieces is closer to music than
other music is); see docs/evaluation.md.
Letters: N pieces of music, n of one track, E features, F frames, M mel bands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Tracks = Sequence[np.ndarray]  # embeddings [n, E] of the pieces of each track


def energy_distance(a: Tracks, b: Tracks) -> float:
    """Computes the energy distance of two sets of tracks, for features of equal scales.

    2 E|x - y| - E|x - x'| - E|y - y'|, divided by the square root of E: Szekely and Rizzo, "Energy
    statistics" (2013). It grows with a shift and with a difference of the spreads, so that a set
    whose pieces are all alike is far from any other.

    Args:
      a, b: embeddings [n, E] of the pieces of each track (`Standardizer`).

    Returns:
      The unbiased estimate, which may be negative.

    Raises:
      ValueError: a set has fewer than two tracks.
    """
    return -_compare_pairs(_distances, a, b)


def kernel_distance(a: Tracks, b: Tracks) -> float:
    """Computes the squared maximum mean discrepancy of two sets; see `energy_distance`.

    Kernel (x.y / E + 1)^3: Binkowski et al., "Demystifying MMD GANs" (2018).
    """
    return _compare_pairs(_cubic_kernel, a, b)


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2 * x @ y.T
    return np.sqrt(np.maximum(squares, 0.0) / x.shape[1])


def _cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _compare_pairs(
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray], a: Tracks, b: Tracks
) -> float:
    """Computes the mean within each set minus twice that between the sets.

    Within a set only pieces of different tracks are compared: those of one track are alike, which
    would add the same bias to sets of few tracks.
    """
    _check_tracks(a, b)
    x, y = (np.concatenate([np.asarray(t, np.float64) for t in tracks]) for tracks in (a, b))
    within = sum(
        _mean_between_tracks(compare(rows, rows), tracks) for rows, tracks in ((x, a), (y, b))
    )
    return float(within - 2 * compare(x, y).mean())


def _mean_between_tracks(matrix: np.ndarray, tracks: Tracks) -> float:
    owner = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    return float(matrix[owner[:, None] != owner].mean())


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


def _check_tracks(a: Tracks, b: Tracks) -> None:
    shapes = {np.shape(track)[1:] for track in (*a, *b)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"embeddings of shapes {shapes}: all must be [n, E]")
    if min(sum(len(track) > 0 for track in tracks) for tracks in (a, b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} tracks: both need at least 2")


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
