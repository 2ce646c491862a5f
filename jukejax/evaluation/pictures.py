"""Pictures of an evaluation: two sets of tracks side by side, in the style of `pictures`."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from jukejax.evaluation.bootstrap import Interval
from jukejax.pages import pictures

NAMES = ("input", "reference")
_COLOURS = (pictures.COLORS[0], pictures.COLORS[1])
_MAX_LINES = 12  # tracks whose tempo is drawn


def tempo_picture(
    tempos: Sequence[tuple[np.ndarray, np.ndarray]],
    path: str | os.PathLike,
    title: str,
    *,
    colour: int = 0,
) -> None:
    """The tempo over 16 beats through each track; more than `_MAX_LINES` are thinned out.

    Args:
      tempos: (seconds, BPM) of each track, [n] each.
    """
    tempos = [(x, y) for x, y in tempos if len(x)]
    if not tempos:
        raise ValueError(f"the picture {title!r} has no tempo to draw")
    count = min(len(tempos), _MAX_LINES)
    chosen = [tempos[i * len(tempos) // count] for i in range(count)]

    def draw(figure, axes, theme):
        del figure
        for seconds, bpm in chosen:
            axes.plot(seconds, bpm, color=_COLOURS[colour], linewidth=1.1, alpha=0.75)
        low, high = (
            edge(edge(bpm) for _, bpm in chosen)
            for edge in (lambda x: min(list(x)), lambda x: max(list(x)))
        )
        room = max(0.08 * (high - low), 2.0)
        axes.set_ylim(low - room, high + room)
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_xlabel("seconds")
        axes.set_ylabel("beats a minute")

    pictures.write_picture(draw, path, title)


def spectrum_picture(
    spectra: Sequence[np.ndarray],
    centres_hz: np.ndarray,
    path: str | os.PathLike,
    title: str,
) -> None:
    """The mean spectrum of each set, and where the middle 80 % of its tracks lie.

    Args:
      spectra: of the input and of the reference, [tracks, mels] in dB; either may be empty.
      centres_hz: of the mel bands, [mels].
    """

    def draw(figure, axes, theme):
        del figure
        for name, colour, levels in zip(NAMES, _COLOURS, spectra, strict=True):
            if not len(levels):
                continue
            low, high = np.quantile(levels, (0.1, 0.9), axis=0)
            axes.fill_between(centres_hz, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(centres_hz, np.mean(levels, axis=0), color=colour, linewidth=1.5, label=name)
        axes.set_xscale("log")
        axes.set_xlim(centres_hz[0], centres_hz[-1])
        axes.set_xticks([100, 1000, 10_000], ["100 Hz", "1 kHz", "10 kHz"])
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_ylabel("dB")
        pictures.add_legend(axes, theme)

    pictures.write_picture(draw, path, title)


def tracks_picture(
    values: Sequence[Sequence[float]],
    intervals: Sequence[Interval | None],
    path: str | os.PathLike,
    title: str,
    unit: str,
) -> None:
    """A dot for each track of the two sets, and the mean with its interval.

    Args:
      values, intervals: of the input and of the reference.
    """

    def draw(figure, axes, theme):
        del figure
        random = np.random.default_rng(0)  # dots of equal figures must not hide each other
        for row, (found, interval) in enumerate(zip(values, intervals, strict=True)):
            place = 1 - row
            around = place + random.uniform(-0.14, 0.14, len(found))
            axes.plot(found, around, "o", color=_COLOURS[row], markersize=2.6, alpha=0.6)
            if interval is not None:
                ends = [interval.low, interval.high]
                axes.plot(ends, [place - 0.3] * 2, color=_COLOURS[row], linewidth=2.2)
                axes.plot(interval.mean, place - 0.3, "|", color=theme.ink, markersize=9)
        axes.set_yticks([1, 0], NAMES)
        axes.set_ylim(-0.6, 1.45)
        axes.grid(color=theme.grid, linewidth=0.6, axis="x")
        axes.set_xlabel(unit)

    pictures.write_picture(draw, path, title)


def similarity_picture(
    means: Sequence[Mapping[int, Interval]], path: str | os.PathLike, title: str
) -> None:
    """Likeness of bars to those so many later, of the input and of the reference."""

    def draw(figure, axes, theme):
        del figure
        lags = sorted({lag for found in means for lag in found})
        for shift, name, colour, found in zip((-0.06, 0.06), NAMES, _COLOURS, means, strict=True):
            if not found:
                continue
            shown = [lag for lag in lags if lag in found]
            places = np.array([lags.index(lag) for lag in shown]) + shift
            middle = np.array([found[lag].mean for lag in shown])
            around = np.array(
                [
                    [found[lag].mean - found[lag].low for lag in shown],
                    [found[lag].high - found[lag].mean for lag in shown],
                ]
            )
            axes.errorbar(
                places,
                middle,
                yerr=np.maximum(around, 0),
                color=colour,
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
