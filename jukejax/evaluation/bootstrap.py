"""How sure a mean is: intervals by drawing the tracks again, and what chance alone would differ.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 6 and 13 (percentiles).
Tracks are drawn, never windows: two windows of one track are not two pieces of evidence.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean over `count` tracks and where it lies with the confidence asked for."""

    mean: float
    low: float
    high: float
    count: int


def interval(
    values: Sequence[float], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """The mean of figures of tracks with its bootstrap interval; None without any finite figure.

    A single track has no spread: its interval is the figure itself.
    """
    values = finite(values)
    if not len(values):
        return None
    random = np.random.default_rng(seed)
    means = values[random.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def finite(values: Sequence[float | None]) -> np.ndarray:
    """The figures that are numbers, float64 [n]."""
    array = np.array([np.nan if value is None else value for value in values], np.float64)
    return array[np.isfinite(array)]


def halves(count: int, *, draws: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random splits of `count` tracks into two halves (of one size, if odd one is left out)."""
    random = np.random.default_rng(seed)
    for _ in range(draws):
        order = random.permutation(count)
        yield order[: count // 2], order[count // 2 : count // 2 * 2]


def floor(values: Sequence[float], *, draws: int = 200, seed: int = 0) -> float | None:
    """How far the means of two random halves of one set lie apart, the mean over many splits.

    A difference to another set that is no larger says nothing. None for fewer than two tracks.
    """
    values = finite(values)
    if len(values) < 2:
        return None
    apart = [
        abs(values[a].mean() - values[b].mean())
        for a, b in halves(len(values), draws=draws, seed=seed)
    ]
    return float(np.mean(apart))
