"""Pictures of two sets of tracks side by side, in the style of `pages.pictures`."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jukejax.evaluation.bootstrap import Interval
from jukejax.pages import pictures

if TYPE_CHECKING:  # importing matplotlib takes half a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("input", "reference")
_COLORS = (pictures.COLORS[0], pictures.COLORS[1])
_MAX_LINES = 12  # tracks whose tempo is drawn


def write_tempo_picture(
    tempos: Sequence[tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    title: str,
    *,
    color: int = 0,
) -> None:
    """Writes a picture of the tempo over 16 beats through each of at most `_MAX_LINES` tracks.

    Args:
      tempos: (seconds, BPM) of each track, [n] each.
      color: index of the set.

    Raises:
      ValueError: no track has a tempo.
    """
    tempos = [(x, y) for x, y in tempos if len(x)]
    if not tempos:
        raise ValueError(f"the picture {title!r} has no tempo to draw")
    count = min(len(tempos), _MAX_LINES)
    chosen = [tempos[i * len(tempos) // count] for i in range(count)]

    def draw(figure: "Figure", axes: "Axes", theme: pictures.Theme) -> None:
        del figure
        for seconds, bpm in chosen:
            axes.plot(seconds, bpm, color=_COLORS[color], linewidth=1.1, alpha=0.75)
        low, high = min(min(bpm) for _, bpm in chosen), max(max(bpm) for _, bpm in chosen)
        margin = max(0.08 * (high - low), 2.0)
        axes.set_ylim(low - margin, high + margin)
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_xlabel("seconds")
        axes.set_ylabel("beats a minute")

    pictures.write_picture(draw, path, title)


def write_spectrum_picture(
    spectra: Sequence[np.ndarray],
    centers_hz: np.ndarray,
    path: str | os.PathLike,
    title: str,
) -> None:
    """Writes a picture of the mean spectrum of each set and the range of its middle 80 %.

    Args:
      spectra: of the input and of the reference, [tracks, mels] in dB; either may be empty.
      centers_hz: of the mel bands, [mels].
    """

    def draw(figure: "Figure", axes: "Axes", theme: pictures.Theme) -> None:
        del figure
        for name, color, levels in zip(NAMES, _COLORS, spectra, strict=True):
            if not len(levels):
                continue
            low, high = np.quantile(levels, (0.1, 0.9), axis=0)
            axes.fill_between(centers_hz, low, high, color=color, alpha=0.18, linewidth=0)
            axes.plot(centers_hz, np.mean(levels, axis=0), color=color, linewidth=1.5, label=name)
        axes.set_xscale("log")
        axes.set_xlim(centers_hz[0], centers_hz[-1])
        axes.set_xticks([100, 1000, 10_000], ["100 Hz", "1 kHz", "10 kHz"])
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_ylabel("dB")
        pictures.add_legend(axes, theme)

    pictures.write_picture(draw, path, title)


def write_tracks_picture(
    values: Sequence[Sequence[float] | np.ndarray],
    intervals: Sequence[Interval | None],
    path: str | os.PathLike,
    title: str,
    unit: str,
) -> None:
    """Writes a picture with a dot for each track of two sets, and the means with intervals.

    Args:
      values, intervals: of the input and of the reference.
    """

    def draw(figure: "Figure", axes: "Axes", theme: pictures.Theme) -> None:
        del figure
        random = np.random.default_rng(0)  # spreads dots of equal figures
        for row, (figures, interval) in enumerate(zip(values, intervals, strict=True)):
            height = 1 - row
            heights = height + random.uniform(-0.14, 0.14, len(figures))
            axes.plot(figures, heights, "o", color=_COLORS[row], markersize=2.6, alpha=0.6)
            if interval is not None:
                ends = [interval.low, interval.high]
                axes.plot(ends, [height - 0.3] * 2, color=_COLORS[row], linewidth=2.2)
                axes.plot(interval.mean, height - 0.3, "|", color=theme.ink, markersize=9)
        axes.set_yticks([1, 0], NAMES)
        axes.set_ylim(-0.6, 1.45)
        axes.grid(color=theme.grid, linewidth=0.6, axis="x")
        axes.set_xlabel(unit)

    pictures.write_picture(draw, path, title)


def write_similarity_picture(
    means: Sequence[Mapping[int, Interval]], path: str | os.PathLike, title: str
) -> None:
    """Writes a picture of the similarity of bars to later ones, by the number of bars between."""

    def draw(figure: "Figure", axes: "Axes", theme: pictures.Theme) -> None:
        del figure
        lags = sorted({lag for intervals in means for lag in intervals})
        for shift, name, color, intervals in zip((-0.06, 0.06), NAMES, _COLORS, means, strict=True):
            if not intervals:
                continue
            drawn_lags = [lag for lag in lags if lag in intervals]
            positions = np.array([lags.index(lag) for lag in drawn_lags]) + shift
            middle = np.array([intervals[lag].mean for lag in drawn_lags])
            errors = np.array(
                [
                    [intervals[lag].mean - intervals[lag].low for lag in drawn_lags],
                    [intervals[lag].high - intervals[lag].mean for lag in drawn_lags],
                ]
            )
            axes.errorbar(
                positions,
                middle,
                yerr=np.maximum(errors, 0),
                color=color,
                marker="o",
                markersize=3,
                linewidth=1.3,
                capsize=2,
                label=name,
            )
        axes.set_xticks(range(len(lags)), [str(lag) for lag in lags])
        axes.set_ylim(-0.1, 1.0)
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_xlabel("bars later")
        axes.set_ylabel("correlation")
        pictures.add_legend(axes, theme)

    pictures.write_picture(draw, path, title)
