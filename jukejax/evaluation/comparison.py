"""Comparison of two sets of tracks: figures with intervals, differences in units of chance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis import distribution
from jukejax.evaluation import bootstrap
from jukejax.evaluation.bootstrap import Interval
from jukejax.evaluation.metrics import METRICS
from jukejax.evaluation.rows import Row, TrackFigures, count_observations, limit_floor

_POOLED_DRAWS = 200  # largest number of draws, each of which sums the counts of all tracks


def compare_tracks(
    part: str, inputs: TrackFigures, references: TrackFigures, *, draws: int, seed: int
) -> list[Row]:
    """Returns a row for each figure that any track of either set has; a set may be empty."""
    rows = []
    for name, metric in METRICS.items():
        input_values, reference_values = (
            bootstrap.drop_missing([track.get(name) for track in tracks])
            for tracks in (inputs, references)
        )
        if not len(input_values) and not len(reference_values):
            continue
        intervals = [
            bootstrap.compute_interval(values, draws=draws, seed=seed)
            for values in (input_values, reference_values)
        ]
        floor = bootstrap.estimate_floor(
            reference_values, size=len(input_values) or None, seed=seed
        )
        counts = [
            count_observations(metric, [track for track in tracks if track.get(name) is not None])
            for tracks in (inputs, references)
        ]
        rows.append(
            Row(
                part,
                name,
                intervals[0],
                intervals[1],
                limit_floor(floor, reference_values, metric),
                (counts[0] or 0, counts[1] or 0) if any(x is not None for x in counts) else None,
                len(reference_values),
            )
        )
    return rows


@dataclass(frozen=True)
class PooledFigures:
    """Figures that belong to a whole set of tracks, such as the use of a codebook.

    Attributes:
      compute: figures by name, of counts [K] summed over tracks.
      draws: bootstrap resamples.
      seed: of the resamples.
    """

    compute: Callable[[np.ndarray], Mapping[str, float]]
    draws: int
    seed: int

    def compare(
        self, part: str, inputs: Sequence[np.ndarray], references: Sequence[np.ndarray]
    ) -> list[Row]:
        """Returns the rows of two sets, given the counts [K] of each of their tracks."""
        floors = self._estimate_floors(references, len(inputs) or None)
        input_intervals = self._compute_intervals(inputs)
        reference_intervals = self._compute_intervals(references)
        return [
            Row(
                part,
                metric,
                input_intervals.get(metric),
                reference_intervals.get(metric),
                limit_floor(floors.get(metric), np.zeros(0), METRICS[metric]),
                (_sum_all(inputs), _sum_all(references)),
                len(references),
            )
            for metric in METRICS
            if metric in input_intervals or metric in reference_intervals
        ]

    def _pool(self, tracks: Iterable[np.ndarray]) -> Mapping[str, float]:
        return self.compute(np.sum(list(tracks), axis=0))

    def _compute_intervals(self, tracks: Sequence[np.ndarray]) -> dict[str, Interval]:
        if not tracks:
            return {}
        random = np.random.default_rng(self.seed)
        resamples = [
            self._pool(tracks[i] for i in random.integers(0, len(tracks), len(tracks)))
            for _ in range(min(self.draws, _POOLED_DRAWS))
        ]
        return {
            name: _make_interval(value, [figures[name] for figures in resamples], len(tracks))
            for name, value in self._pool(tracks).items()
        }

    def _estimate_floors(self, tracks: Sequence[np.ndarray], size: int | None) -> dict[str, float]:
        if len(tracks) < 2:
            return {}
        differences: dict[str, list[float]] = {}
        for first, second in bootstrap.split_tracks(
            len(tracks), size=size, draws=50, seed=self.seed
        ):
            first_figures = self._pool(tracks[i] for i in first)
            second_figures = self._pool(tracks[i] for i in second)
            for name, value in first_figures.items():
                differences.setdefault(name, []).append(abs(value - second_figures[name]))
        return {name: float(np.mean(values)) for name, values in differences.items()}


def _sum_all(tracks: Iterable[np.ndarray]) -> int:
    return int(sum(counts.sum() for counts in tracks))


def compare_embeddings(
    part: str,
    inputs: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    *,
    seed: int,
    draws: int = 20,
) -> list[Row]:
    """Computes distances of two sets of embeddings, and as floor those of parts of the reference.

    All are computed for equally many tracks, drawn `draws` times; the interval is that of the
    draws.

    Args:
      inputs, references: embeddings [n, E] of the pieces of each track.

    Returns:
      [] with fewer than two tracks of the input or four of the reference.
    """
    size = min(len(inputs), len(references) // 2)
    if size < 2:
        return []
    standardize = distribution.Standardizer.fit(np.concatenate(list(references)))
    inputs, references = ([standardize(x) for x in tracks] for tracks in (inputs, references))
    measures = {"energy": distribution.energy_distance, "kernel": distribution.kernel_distance}
    distances: dict[str, list[float]] = {name: [] for name in measures}
    floors: dict[str, list[float]] = {name: [] for name in measures}
    random = np.random.default_rng(seed)
    for _ in range(draws):
        chosen = [inputs[i] for i in random.permutation(len(inputs))[:size]]
        order = random.permutation(len(references))[: 2 * size]
        first, second = ([references[i] for i in half] for half in (order[:size], order[size:]))
        for name, measure in measures.items():
            distances[name].append(measure(chosen, first))
            floors[name].append(measure(second, first))
    return [
        # Unbiased distances of equal distributions have either sign; the floor is their mean size.
        Row(
            part,
            name,
            _make_interval(float(np.mean(values)), values, size),
            None,
            limit_floor(float(np.abs(floors[name]).mean()), np.zeros(0), METRICS[name]),
            (sum(map(len, inputs)), sum(map(len, references))),
            len(references),
        )
        for name, values in distances.items()
    ]


def _make_interval(mean: float, draws: Sequence[float], count: int) -> Interval:
    """Returns a 95 % interval with the percentiles of the draws as limits."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(mean, float(low), float(high), count)
