"""Comparison of two sets of tracks: figures with intervals, differences in units of chance."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis import distribution
from jukejax.evaluation import bootstrap
from jukejax.evaluation.bootstrap import Interval

# {name: (title, unit, format)}, in the order of the table.
METRICS = {
    "loudness_lufs": ("loudness", "LUFS", ".1f"),
    "true_peak_db": ("true peak", "dBTP", ".2f"),
    "silent": ("silence", "share", ".4f"),
    "clipped": ("clipped samples", "share", ".5f"),
    "dc": ("DC offset", "share", ".5f"),
    "tempo_bpm": ("tempo", "BPM", ".2f"),
    "pulse": ("pulse clarity", "", ".3f"),
    "beat_spread_percent": ("spread of the beats", "%", ".2f"),
    "tempo_drift_percent": ("tempo drift", "%", ".2f"),
    "four_on_the_floor": ("four on the floor", "", ".3f"),
    "similarity_1_bars": ("similarity to the next bar", "", ".3f"),
    "similarity_4_bars": ("similarity 4 bars later", "", ".3f"),
    "similarity_8_bars": ("similarity 8 bars later", "", ".3f"),
    "similarity_16_bars": ("similarity 16 bars later", "", ".3f"),
    "spectral_convergence_db": ("spectral convergence", "dB", ".2f"),
    "multi_resolution_stft": ("multi-resolution STFT", "", ".3f"),
    "mel_db": ("mel distance", "dB", ".2f"),
    "si_sdr_db": ("SI-SDR", "dB", ".2f"),
    "visqol_mos": ("ViSQOL", "MOS", ".2f"),
    "usage": ("codes in use", "share", ".3f"),
    "dead": ("dead codes", "share", ".3f"),
    "perplexity": ("perplexity", "codes", ".0f"),
    "entropy_bits": ("entropy", "bits", ".2f"),
    "bits_per_code": ("bits per code", "bits", ".3f"),
    "flux_ratio": ("flux at joins, to elsewhere", "", ".2f"),
    "jump_db_at": ("step of level at joins", "dB", ".2f"),
    "jump_db_elsewhere": ("step of level elsewhere", "dB", ".2f"),
    "frechet": ("Frechet distance", "", ".3f"),
    "kernel": ("kernel distance", "", ".4f"),
}


@dataclass(frozen=True)
class Row:
    """One figure of the two sets.

    Attributes:
      part: section of the table: "music", "distribution (mel)", "reconstruction level 2", ...
      metric: key of `METRICS`.
      input, reference: means over the tracks with intervals; None for a set without the figure.
      floor: difference between two random halves of the reference.
    """

    part: str
    metric: str
    input: Interval | None
    reference: Interval | None
    floor: float | None

    @property
    def floors(self) -> float | None:
        """Returns the difference of the sets (or a distance) as a multiple of the floor."""
        if not self.floor or self.input is None:
            return None
        if self.reference is None:
            return self.input.mean / self.floor if self.metric in DISTANCES else None
        return abs(self.input.mean - self.reference.mean) / self.floor

    def to_json(self) -> dict:
        """Returns the row as a JSON object."""
        title, unit, _ = METRICS[self.metric]
        return {
            "part": self.part,
            "metric": self.metric,
            "title": title,
            "unit": unit,
            "input": dataclasses.asdict(self.input) if self.input else None,
            "reference": dataclasses.asdict(self.reference) if self.reference else None,
            "floor": self.floor,
            "times_floor": self.floors,
        }


DISTANCES = ("frechet", "kernel")
_POOLED_DRAWS = 200  # largest number of draws, each of which sums the counts of all tracks
TrackFigures = Sequence[Mapping[str, float | None]]  # of each track, by metric


def compare_tracks(
    part: str, inputs: TrackFigures, references: TrackFigures, *, draws: int, seed: int
) -> list[Row]:
    """Returns a row for each figure that any track of either set has; a set may be empty."""
    rows = []
    for metric in METRICS:
        input_values = [track.get(metric) for track in inputs]
        reference_values = [track.get(metric) for track in references]
        intervals = [
            bootstrap.compute_interval(values, draws=draws, seed=seed)
            for values in (input_values, reference_values)
        ]
        if any(intervals):
            floor = bootstrap.estimate_floor(reference_values, seed=seed)
            rows.append(Row(part, metric, intervals[0], intervals[1], floor))
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
        floors = self._estimate_floors(references)
        input_intervals = self._compute_intervals(inputs)
        reference_intervals = self._compute_intervals(references)
        return [
            Row(
                part,
                metric,
                input_intervals.get(metric),
                reference_intervals.get(metric),
                floors.get(metric),
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

    def _estimate_floors(self, tracks: Sequence[np.ndarray]) -> dict[str, float]:
        if len(tracks) < 2:
            return {}
        differences: dict[str, list[float]] = {}
        for first, second in bootstrap.split_halves(len(tracks), draws=50, seed=self.seed):
            first_figures = self._pool(tracks[i] for i in first)
            second_figures = self._pool(tracks[i] for i in second)
            for name, value in first_figures.items():
                differences.setdefault(name, []).append(abs(value - second_figures[name]))
        return {name: float(np.mean(values)) for name, values in differences.items()}


def compare_embeddings(
    part: str,
    inputs: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    *,
    seed: int,
    draws: int = 20,
) -> list[Row]:
    """Computes distances of two sets of embeddings, and as floor those of halves of the reference.

    Distances of small sets are biased upwards, so that all are computed for equally many tracks,
    drawn `draws` times. The interval is that of the draws.

    Args:
      inputs, references: embeddings [n, E] of the segments of each track.

    Returns:
      [] with too few tracks or segments.
    """
    size = min(len(inputs), len(references) // 2)
    if size < 1 or min(sum(map(len, tracks)) for tracks in (inputs, references)) < 4:
        return []
    standardize = distribution.Standardizer.fit(np.concatenate(list(references)))
    inputs, references = ([standardize(x) for x in tracks] for tracks in (inputs, references))
    measures = {"frechet": distribution.frechet_distance, "kernel": distribution.kernel_distance}
    distances: dict[str, list[float]] = {name: [] for name in measures}
    floors: dict[str, list[float]] = {name: [] for name in measures}
    random = np.random.default_rng(seed)
    for _ in range(draws):
        chosen = random.permutation(len(inputs))[:size]
        order = random.permutation(len(references))
        input_rows, first_half, second_half = (
            np.concatenate([tracks[i] for i in indices])
            for tracks, indices in (
                (inputs, chosen),
                (references, order[:size]),
                (references, order[size : 2 * size]),
            )
        )
        if min(map(len, (input_rows, first_half, second_half))) < 2:
            continue
        for name, measure in measures.items():
            distances[name].append(measure(input_rows, first_half))
            floors[name].append(measure(second_half, first_half))
    return [
        # Unbiased distances of equal distributions have either sign; the floor is their mean size.
        Row(
            part,
            name,
            _make_interval(float(np.mean(values)), values, size),
            None,
            float(np.abs(floors[name]).mean()),
        )
        for name, values in distances.items()
        if values
    ]


def _make_interval(mean: float, draws: Sequence[float], count: int) -> Interval:
    """Returns a 95 % interval with the percentiles of the draws as limits."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(mean, float(low), float(high), count)


def format_table(rows: Sequence[Row]) -> list[str]:
    """Formats the rows as an aligned table with a heading for each part."""
    lines, part = [], None
    for row in rows:
        if row.part != part:
            part = row.part
            lines += ["", part]
        title, unit, form = METRICS[row.metric]
        label = f"{title} ({unit})" if unit else title
        cells = [format_interval(interval, form) for interval in (row.input, row.reference)]
        floor = f"{row.floor:{form}}" if row.floor is not None else "-"
        times = f"{row.floors:.1f} x" if row.floors is not None else ""
        lines.append(f"  {label:<34}{cells[0]:>28}{cells[1]:>28}{floor:>10}{times:>10}")
    head = f"  {'':<34}{'input':>28}{'reference':>28}{'floor':>10}{'apart':>10}"
    return [head, *lines[1:]]


def format_interval(interval: Interval | None, form: str) -> str:
    """Formats `1.20 [1.10, 1.30]`; only the mean of a single track."""
    if interval is None:
        return "-"
    mean, low, high = (f"{x:{form}}" for x in (interval.mean, interval.low, interval.high))
    return mean if interval.count < 2 else f"{mean} [{low}, {high}]"
