"""Figures of two sets of tracks side by side, each with its interval and its floor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.analysis import distribution
from jukejax.evaluation import bootstrap
from jukejax.evaluation.bootstrap import Interval

# {name: (what people call it, unit, form)}, in the order in which they are shown.
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
    "similarity_1_bars": ("likeness to the next bar", "", ".3f"),
    "similarity_4_bars": ("likeness 4 bars later", "", ".3f"),
    "similarity_8_bars": ("likeness 8 bars later", "", ".3f"),
    "similarity_16_bars": ("likeness 16 bars later", "", ".3f"),
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
    """A figure of the two sets.

    Attributes:
      part: what it is about: "music", "distribution (mel)", "reconstruction level 2", ...
      metric: key of `METRICS`.
      input, reference: means over the tracks, with intervals; None where there is nothing.
      floor: what two random halves of the reference differ by.
    """

    part: str
    metric: str
    input: Interval | None
    reference: Interval | None
    floor: float | None

    @property
    def floors(self) -> float | None:
        """How many floors the two sets are apart; of a distance, how many floors it is."""
        if not self.floor or self.input is None:
            return None
        if self.reference is None:
            return self.input.mean / self.floor if self.metric in DISTANCES else None
        return abs(self.input.mean - self.reference.mean) / self.floor

    def table(self) -> dict:
        """For JSON."""
        title, unit, _ = METRICS[self.metric]
        return {
            "part": self.part,
            "metric": self.metric,
            "title": title,
            "unit": unit,
            "input": self.input._asdict() if self.input else None,
            "reference": self.reference._asdict() if self.reference else None,
            "floor": self.floor,
            "times_floor": self.floors,
        }


DISTANCES = ("frechet", "kernel")
Figures = Sequence[Mapping[str, float | None]]  # of tracks


def compare(part: str, given: Figures, reference: Figures, *, draws: int, seed: int) -> list[Row]:
    """A row for each figure that any track of either set has; either set may be empty."""
    rows = []
    for metric in METRICS:
        ours, theirs = ([track.get(metric) for track in tracks] for tracks in (given, reference))
        means = [bootstrap.interval(values, draws=draws, seed=seed) for values in (ours, theirs)]
        if any(means):
            rows.append(Row(part, metric, *means, bootstrap.floor(theirs, seed=seed)))
    return rows


def pooled(
    part: str,
    given: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    figures: Callable[[np.ndarray], Mapping[str, float]],
    *,
    draws: int,
    seed: int,
) -> list[Row]:
    """Rows of figures that belong to a whole set, such as the use of a codebook.

    Args:
      given, reference: counts [K] of each track.
      figures: of counts summed over tracks, by name.
    """

    def table(tracks: Iterable[np.ndarray]) -> Mapping[str, float]:
        return figures(np.sum(list(tracks), axis=0))

    def intervals(tracks: Sequence[np.ndarray]) -> dict[str, Interval]:
        if not tracks:
            return {}
        whole = table(tracks)
        random = np.random.default_rng(seed)
        again = [
            table([tracks[i] for i in random.integers(0, len(tracks), len(tracks))])
            for _ in range(min(draws, 200))
        ]
        return {
            name: Interval(
                value, *np.quantile([x[name] for x in again], (0.025, 0.975)), len(tracks)
            )
            for name, value in whole.items()
        }

    floors: dict[str, list[float]] = {}
    if len(reference) > 1:
        for a, b in bootstrap.halves(len(reference), draws=50, seed=seed):
            first, second = table(reference[i] for i in a), table(reference[i] for i in b)
            for name in first:
                floors.setdefault(name, []).append(abs(first[name] - second[name]))
    ours, theirs = intervals(given), intervals(reference)
    return [
        Row(
            part,
            metric,
            ours.get(metric),
            theirs.get(metric),
            float(np.mean(floors[metric])) if metric in floors else None,
        )
        for metric in METRICS
        if metric in ours or metric in theirs
    ]


def distances(
    part: str,
    given: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    seed: int,
    draws: int = 20,
) -> list[Row]:
    """Distances of two sets of embeddings, and the floor: of two halves of the reference.

    All are between equally many tracks, drawn anew `draws` times, since distances of small sets
    are larger. The interval is that of the draws.

    Args:
      given, reference: embeddings [n, E] of the pieces of each track.
    """
    size = min(len(given), len(reference) // 2)
    if size < 1 or min(sum(map(len, x)) for x in (given, reference)) < 4:
        return []
    scale = distribution.standardiser(np.concatenate(list(reference)))
    given, reference = ([scale(x) for x in tracks] for tracks in (given, reference))
    measures = {"frechet": distribution.frechet_distance, "kernel": distribution.kernel_distance}
    found = {name: ([], []) for name in measures}
    random = np.random.default_rng(seed)
    for _ in range(draws):
        ours = random.permutation(len(given))[:size]
        order = random.permutation(len(reference))
        first, second = order[:size], order[size : 2 * size]
        sets = [
            np.concatenate([tracks[i] for i in chosen])
            for tracks, chosen in ((given, ours), (reference, first), (reference, second))
        ]
        if min(map(len, sets)) < 2:
            continue
        for name, measure in measures.items():
            found[name][0].append(measure(sets[0], sets[1]))
            found[name][1].append(measure(sets[2], sets[1]))
    rows = []
    for name, (apart, floor) in found.items():
        if apart:
            low, high = np.quantile(apart, (0.025, 0.975))
            interval = Interval(float(np.mean(apart)), float(low), float(high), size)
            # Unbiased distances of like sets lie on both sides of 0: how far, is what chance makes.
            rows.append(Row(part, name, interval, None, float(np.abs(floor).mean())))
    return rows


def text(rows: Sequence[Row]) -> list[str]:
    """The rows as an aligned table, part by part."""
    lines, part = [], None
    for row in rows:
        if row.part != part:
            part = row.part
            lines += ["", part]
        title, unit, form = METRICS[row.metric]
        label = f"{title} ({unit})" if unit else title
        cells = [said(row.input, form), said(row.reference, form)]
        floor = f"{row.floor:{form}}" if row.floor is not None else "-"
        times = f"{row.floors:.1f} x" if row.floors is not None else ""
        lines.append(f"  {label:<34}{cells[0]:>28}{cells[1]:>28}{floor:>10}{times:>10}")
    head = f"  {'':<34}{'input':>28}{'reference':>28}{'floor':>10}{'apart':>10}"
    return [head, *lines[1:]]


def said(interval: Interval | None, form: str) -> str:
    """`1.20 [1.10, 1.30]`."""
    if interval is None:
        return "-"
    mean, low, high = (f"{value:{form}}" for value in interval[:3])
    return mean if interval.count < 2 else f"{mean} [{low}, {high}]"
