"""Bootstrap intervals of means, and the difference of two sets that chance alone explains.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 6 and 13 (percentiles).
Whole tracks are resampled, never windows: two windows of one track are not independent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `count` tracks and the limits of its confidence interval."""

    mean: float
    low: float
    high: float
    count: int


def compute_interval(
    values: Sequence[float | None] | np.ndarray,
    *,
    draws: int = RESAMPLES,
    level: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """Computes the mean of figures of tracks and its percentile interval.

    Args:
      values: a figure of each track; None and values that are not finite are ignored.
      draws: bootstrap resamples.
      level: confidence of the interval.

    Returns:
      None without a finite figure. For a single track both limits are its figure.
    """
    figures = drop_missing(values)
    if not len(figures):
        return None
    mean = float(figures.mean())
    if len(figures) == 1:
        return Interval(mean, mean, mean, 1)
    limits = stats.bootstrap(
        (figures,),
        np.mean,
        n_resamples=draws,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(limits.low), float(limits.high), len(figures))


def drop_missing(values: Sequence[float | None] | np.ndarray) -> np.ndarray:
    """Returns the finite figures, float64 [n]."""
    array = np.array([np.nan if value is None else value for value in values], np.float64)
    return array[np.isfinite(array)]


def split_tracks(
    count: int, *, size: int | None = None, draws: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields random disjoint subsets of `count` tracks.

    Args:
      size: tracks of the first subset, at most half of them; None: half. The second has half.
    """
    random, half = np.random.default_rng(seed), count // 2
    first = half if size is None else min(size, half)
    for _ in range(draws):
        order = random.permutation(count)
        yield order[:first], order[half : 2 * half]


def estimate_floor(
    values: Sequence[float | None] | np.ndarray,
    *,
    size: int | None = None,
    draws: int = 200,
    seed: int = 0,
) -> float | None:
    """Estimates the difference of the means of two random subsets of one set, averaged over splits.

    Chance explains a difference to another set of `size` tracks that is not larger.

    Args:
      size: tracks of the other set: a mean of few varies more. At most half of the tracks are
        taken; None: half.

    Returns:
      None for fewer than two tracks.
    """
    figures = drop_missing(values)
    if len(figures) < 2:
        return None
    differences = [
        abs(figures[first].mean() - figures[second].mean())
        for first, second in split_tracks(len(figures), size=size, draws=draws, seed=seed)
    ]
    return float(np.mean(differences))
