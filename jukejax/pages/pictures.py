"""Pictures of what was heard and learned: mel spectrograms, curves, the use of a codebook.

Every picture is written twice, for a light page (`NAME.png`) and for a dark one (`NAME.dark.png`),
in one style and one size, so that a page can show them side by side. Mel pictures share one colour
scale (`MEL_FLOOR_DB` to 0 dB, a full-scale sine being 0): what looks quieter is quieter, on every
page and in every run. Titles are drawn with matplotlib's own font, so text that a user wrote (a
name in any script) belongs on the page, not in the picture.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.analysis import mel
from jukejax.common import files

WIDTH, HEIGHT = 960, 580  # pixels of every picture; pages show it at half of that on sharp screens
MEL_FLOOR_DB = -90.0
_DPI = 272  # so that the letters stay readable where three pictures share a row
COLOURS = ("#e4622e", "#2f86d6", "#9a63d8", "#2a9d78")


@dataclass(frozen=True)
class _Theme:
    """The colours of a picture that depend on the page it lies on."""

    suffix: str
    paper: str
    ink: str
    quiet: str
    grid: str


_THEMES = (
    _Theme(suffix=".png", paper="#ffffff", ink="#1d2027", quiet="#5b6270", grid="#e4e6eb"),
    _Theme(suffix=".dark.png", paper="#1b1e25", ink="#eceef3", quiet="#a5adbb", grid="#333843"),
)


@dataclass(frozen=True)
class Curve:
    """One line of a curve picture; `faint` is for noisy figures that stand behind the main ones."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    faint: bool = False


def dark_twin(path: str | os.PathLike) -> Path:
    """Where the dark version of the picture at `path` lies."""
    return Path(path).with_suffix(".dark.png")


def mel_picture(
    audio: np.ndarray, path: str | os.PathLike, title: str, *, sample_rate: int = 44_100
) -> None:
    """Writes the mel spectrogram of `audio` ([time] or [time, channels]) and its dark twin."""
    spectrogram = mel.mel_decibels(audio, sample_rate)
    seconds = len(audio) / sample_rate
    ends = mel.hz_to_mel([mel.LOWEST_HZ, sample_rate / 2])
    ticks = [hz for hz in (100, 500, 1000, 2000, 5000, 10_000) if hz < sample_rate / 2]

    def draw(figure, axes, theme):
        image = axes.imshow(
            spectrogram,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=MEL_FLOOR_DB,
            vmax=0,
            extent=(0, seconds, *ends),
            interpolation="nearest",
        )
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=22, ticks=[-90, -60, -30, 0])
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=theme.quiet, labelsize=6, length=2)
        bar.set_label("dB of full scale", color=theme.quiet, fontsize=6.5)
        axes.set_yticks(mel.hz_to_mel(ticks), [f"{hz:,}" for hz in ticks])
        axes.set_xlabel("time (seconds)")
        axes.set_ylabel("frequency (Hz)")

    write(draw, path, title)


def curve_picture(
    curves: Sequence[Curve],
    path: str | os.PathLike,
    title: str,
    *,
    x_label: str,
    y_label: str,
    lines: Mapping[str, float] | None = None,
    log_y: bool = False,
) -> None:
    """Writes `curves` to `path` and its dark twin; `lines` are dashed horizontals to compare with.

    The range shown is that of the curves from a tenth of the steps on, and of the lines, so that
    the fall of the first steps does not flatten the rest.
    """
    if not any(len(curve.x) for curve in curves):
        raise ValueError(f"the picture {title!r} has no points to draw")
    lines = dict(lines or {})

    def draw(figure, axes, theme):
        del figure
        for curve in curves:
            colour = COLOURS[curve.colour % len(COLOURS)]
            few = len(curve.x) <= 40 and not curve.faint
            axes.plot(
                curve.x,
                curve.y,
                color=colour,
                label=curve.name,
                linewidth=0.8 if curve.faint else 1.5,
                alpha=0.55 if curve.faint else 1.0,
                marker="o" if few or len(curve.x) == 1 else None,
                markersize=2.6,
                zorder=2 if curve.faint else 3,
            )
        for name, value in lines.items():
            axes.axhline(value, color=theme.quiet, linewidth=1, linestyle=(0, (4, 3)), label=name)
        axes.set_yscale("log" if log_y else "linear")
        axes.set_ylim(*_shown_range(curves, lines.values(), log_y))
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        add_legend(axes, theme)

    write(draw, path, title)


def _shown_range(curves: Sequence[Curve], lines, log_y: bool) -> tuple[float, float]:
    last = max(max(curve.x) for curve in curves if len(curve.x))
    values = list(lines)
    for curve in curves:
        x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
        kept = y[np.isfinite(y) & ((x >= last / 10) | (len(x) < 10))]
        if curve.faint and len(kept):  # one bad batch should not decide what the eye can see
            kept = np.percentile(kept, [1, 99])
        values.extend(kept)
    values = [value for value in values if np.isfinite(value) and (value > 0 or not log_y)]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    if log_y:
        room = max(high / low, 1.1) ** 0.08
        return low / room, high * room
    room = max(high - low, abs(high) * 0.02, 1e-6) * 0.08
    return low - room, high + room


def codebook_picture(counts: np.ndarray, path: str | os.PathLike, title: str) -> None:
    """Writes how often each code is used (`counts` [codebook_size]), the most used first."""
    counts = np.sort(np.asarray(counts, np.float64))[::-1]
    if counts.sum() <= 0:
        raise ValueError(f"the picture {title!r} needs at least one code, got none")
    share = 100 * counts / counts.sum()
    used = int((counts > 0).sum())

    def draw(figure, axes, theme):
        del figure
        rank = np.arange(used + 1) + 0.5
        axes.stairs(share[:used], rank, fill=True, color=COLOURS[1], alpha=0.85, zorder=2)
        even = 100 / len(counts)
        axes.axhline(even, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        axes.annotate(
            "if all were used alike",
            (1, even),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color=theme.ink,
        )
        axes.set_yscale("log")
        axes.set_ylim(min(share[used - 1], even) / 2, max(share[0], even) * 2.5)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.set_xlim(0.5, len(counts) + 0.5)
        axes.grid(color=theme.grid, linewidth=0.6, axis="y")
        axes.set_xlabel("codes, the most used first")
        axes.set_ylabel("share of all codes")

    write(draw, path, title)


def add_legend(axes, theme) -> None:
    """Names the lines of a picture."""
    legend = axes.legend(fontsize=6.5, frameon=True, facecolor=theme.paper, framealpha=0.85)
    legend.get_frame().set_edgecolor(theme.grid)
    for text in legend.get_texts():
        text.set_color(theme.ink)


def write(draw: Callable, path: str | os.PathLike, title: str) -> None:
    """Draws once a theme and puts the finished files in place, never half of one."""
    from matplotlib.figure import Figure

    path = Path(path)
    for theme in _THEMES:
        size = (WIDTH / _DPI, HEIGHT / _DPI)
        figure = Figure(figsize=size, dpi=_DPI, facecolor=theme.paper, layout="constrained")
        axes = figure.add_subplot(facecolor=theme.paper)
        draw(figure, axes, theme)
        axes.set_title(title, color=theme.ink, fontsize=8.5, loc="left", parse_math=False)
        axes.tick_params(which="both", colors=theme.quiet, labelsize=6.5, length=2.5)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=theme.quiet, fontsize=7)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(theme.grid)
        target = path.with_suffix(theme.suffix)
        with files.replacing(target) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
