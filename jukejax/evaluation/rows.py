"""The rows of the table of `evaluate`: a figure of two sets, and which differences are listed."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.evaluation.bootstrap import Interval
from jukejax.evaluation.metrics import DISTANCES, METRICS, Importance, Metric

NOTABLE = 3.0  # floors: least difference that is listed
MIN_TRACKS = 4  # of the reference, without which a difference is not judged
SPREAD_SHARE = 0.2  # of the standard deviation over the reference's tracks: the least floor
TrackFigures = Sequence[Mapping[str, float | None]]  # of each track, by metric


@dataclass(frozen=True)
class Row:
    """One figure of the two sets.

    Attributes:
      part: section of the table: "music", "distribution (mel)", "reconstruction level 2", ...
      metric: key of `METRICS`.
      input, reference: means over the tracks with intervals; None for a set without the figure.
      floor: difference that chance explains, at least the resolution of the figure.
      observations: of the input and of the reference, of what the metric is `over`; None: one a
        track.
      reference_tracks: tracks of the reference that the floor is from.
    """

    part: str
    metric: str
    input: Interval | None
    reference: Interval | None
    floor: float | None
    observations: tuple[int, int] | None = None
    reference_tracks: int = 0

    @property
    def definition(self) -> Metric:
        """Returns title, unit and limits of the figure."""
        return METRICS[self.metric]

    @property
    def floors(self) -> float | None:
        """Returns the difference of the sets (or a distance) as a multiple of the floor.

        None where there is nothing to compare, or too little; see `find_shortage`.
        """
        if not self.floor or self.input is None or self.find_shortage():
            return None
        if self.metric in DISTANCES:
            return self.input.mean / self.floor
        if self.reference is None:
            return None
        return abs(self.input.mean - self.reference.mean) / self.floor

    def find_shortage(self) -> str | None:
        """Returns why there is too little of the sets to judge a difference; None if there is not.

        Sets that are not compared lack nothing.
        """
        if self.input is None or (self.reference is None and self.metric not in DISTANCES):
            return None
        if self.reference_tracks < MIN_TRACKS:
            return f"{self.reference_tracks} of at least {MIN_TRACKS} tracks of the reference"
        metric = self.definition
        if self.observations is not None and min(self.observations) < metric.least:
            return f"{min(self.observations)} of at least {metric.least} {metric.over}"
        return None

    def describe_counts(self) -> str:
        """Returns what the figures are over, of input and reference: "80/320 beats, 2/8 tracks"."""
        tracks = _count_sides(
            self.input.count if self.input else 0,
            self.reference.count if self.reference else self.reference_tracks,
        )
        if self.observations is None:
            return f"{tracks} tracks"
        return f"{_count_sides(*self.observations)} {self.definition.over}, {tracks} tracks"

    def to_json(self) -> dict:
        """Returns the row as a JSON object."""
        metric = self.definition
        return {
            "part": self.part,
            "metric": self.metric,
            "title": metric.title,
            "unit": metric.unit,
            "input": dataclasses.asdict(self.input) if self.input else None,
            "reference": dataclasses.asdict(self.reference) if self.reference else None,
            "floor": self.floor,
            "times_floor": self.floors,
            "over": metric.over if self.observations is not None else "tracks",
            "observations": self.observations,
            "too_few": self.find_shortage(),
        }


def _count_sides(first: int, second: int) -> str:
    return "/".join(str(count) if count else "-" for count in (first, second))


def count_observations(metric: Metric, tracks: TrackFigures) -> int | None:
    """Returns the observations of a figure in the tracks that have it; None if they do not say."""
    counts = [track.get(metric.count) for track in tracks]
    known = [count for count in counts if count is not None]
    return round(sum(known)) if known else None


def rank_differences(rows: Iterable[Row]) -> list[Row]:
    """Returns the notable differences: by importance, the largest first.

    A difference in rhythm is listed before one in loudness, however many floors the latter has:
    the number of floors says how certain a difference is, not how audible.
    """
    notable = [
        row
        for row in rows
        if row.definition.importance != Importance.BASELINE and (row.floors or 0.0) >= NOTABLE
    ]
    return sorted(notable, key=lambda row: (row.definition.importance, -(row.floors or 0.0)))


def format_table(rows: Sequence[Row]) -> list[str]:
    """Formats the rows as an aligned table with a heading for each part."""
    lines, part = [], None
    for row in rows:
        if row.part != part:
            part = row.part
            lines += ["", part]
        form = row.definition.form
        cells = [format_interval(interval, form) for interval in (row.input, row.reference)]
        floor = f"{row.floor:{form}}" if row.floor is not None else "-"
        times = f"{row.floors:.1f} x" if row.floors is not None else ""
        times = "too few" if row.find_shortage() else times
        lines.append(
            f"  {row.definition.label:<53}{cells[0]:>28}{cells[1]:>28}{floor:>9}{times:>9}"
            f"  {row.describe_counts()}"
        )
    head = f"  {'':<53}{'input':>28}{'reference':>28}{'floor':>9}{'apart':>9}  input/reference"
    return [head, *lines[1:]]


def format_interval(interval: Interval | None, form: str) -> str:
    """Formats `1.20 [1.10, 1.30]`; only the mean of a single track."""
    if interval is None:
        return "-"
    mean, low, high = (f"{x:{form}}" for x in (interval.mean, interval.low, interval.high))
    return mean if interval.count < 2 else f"{mean} [{low}, {high}]"


def limit_floor(floor: float | None, values: np.ndarray, metric: Metric) -> float | None:
    """Raises a measured floor to what matters: the resolution, and a share of the spread.

    Args:
      values: figures of the reference's tracks.
    """
    if floor is None:
        return None
    spread = float(np.std(values)) if len(values) else 0.0
    return max(floor, SPREAD_SHARE * spread, metric.resolution)
