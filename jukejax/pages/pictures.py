"""Pictures of mel spectrograms, training curves and codebook use, drawn with matplotlib.

Every picture is written twice, for a light page (`NAME.png`) and for a dark one (`NAME.dark.png`),
in one style and one size, for use side by side. Mel pictures have one color scale (`MEL_FLOOR_DB`
to 0 dB, the level of a full-scale sine), so that they can be compared across pages and runs. Titles
are drawn with matplotlib's font, which lacks most scripts, so that text by users must be on the
page, not in the picture.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.analysis import mel
from jukejax.common import files

if TYPE_CHECKING:  # importing matplotlib takes half a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = (
    960,
    580,
)  # pixels; pages display pictures at half this size on sharp screens
MEL_FLOOR_DB = -90.0
_DPI = 272  # for readable letters with three pictures in a row
# Left, bottom, width and height of the axes and of the color bar of mel pictures, as shares: where
# matplotlib's constrained layout places them, which takes as long as drawing.
_MEL_BOX, _MEL_BAR = (0.1704, 0.1726, 0.6698, 0.7267), (0.8536, 0.1726, 0.02, 0.7267)
COLORS = ("#e4622e", "#2f86d6", "#9a63d8", "#2a9d78")


@dataclass(frozen=True)
class Theme:
    """The colors that differ between the light and the dark version of a picture."""

    suffix: str
    paper: str
    ink: str
    quiet: str
    grid: str


_THEMES = (
    Theme(suffix=".png", paper="#ffffff", ink="#1d2027", quiet="#5b6270", grid="#e4e6eb"),
    Theme(suffix=".dark.png", paper="#1b1e25", ink="#eceef3", quiet="#a5adbb", grid="#333843"),
)


@dataclass(frozen=True)
class Curve:
    """One line of a curve picture; `faint` is for noisy values, drawn behind the others."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int = 0
    faint: bool = False


Box = tuple[float, float, float, float]
Draw = Callable[["Figure", "Axes", Theme], None]


def load_libraries(sample_rate: int) -> None:
    """Imports the libraries of mel pictures, which takes seconds, and computes their filters."""
    import matplotlib.figure  # noqa: F401

    mel.mel_filters(sample_rate)


def dark_path(path: str | os.PathLike) -> Path:
    """Returns the path of the dark version of the picture at `path`."""
    return Path(path).with_suffix(".dark.png")


def write_mel_picture(
    audio: np.ndarray, path: str | os.PathLike, title: str, *, sample_rate: int = 44_100
) -> None:
    """Writes a picture of the mel spectrogram of `audio` ([time] or [time, channels])."""
    spectrogram = mel.mel_decibels(audio, sample_rate)
    seconds = len(audio) / sample_rate
    ends = mel.hz_to_mel(np.array([mel.LOWEST_HZ, sample_rate / 2]))
    ticks = [hz for hz in (100, 500, 1000, 2000, 5000, 10_000) if hz < sample_rate / 2]

    def draw(figure: "Figure", axes: "Axes", theme: Theme) -> None:
        image = axes.imshow(
            spectrogram,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=MEL_FLOOR_DB,
            vmax=0,
            extent=(0, seconds, ends[0], ends[1]),
            interpolation="nearest",
        )
        bar = figure.colorbar(image, cax=figure.add_axes(_MEL_BAR), ticks=[-90, -60, -30, 0])
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=theme.quiet, labelsize=6, length=2)
        bar.set_label("dB of full scale", color=theme.quiet, fontsize=6.5)
        axes.set_yticks(mel.hz_to_mel(np.array(ticks)), [f"{hz:,}" for hz in ticks])
        axes.set_xlabel("time (seconds)")
        axes.set_ylabel("frequency (Hz)")

    write_picture(draw, path, title, box=_MEL_BOX)


def write_curve_picture(
    curves: Sequence[Curve],
    path: str | os.PathLike,
    title: str,
    *,
    x_label: str,
    y_label: str,
    lines: Mapping[str, float] | None = None,
    log_y: bool = False,
) -> None:
    """Writes a picture of `curves`.

    The vertical range is that of the curves after the first tenth of the steps, and of the lines,
    as the values of the first steps would compress the others.

    Args:
      lines: dashed horizontal lines for comparison, by name.

    Raises:
      ValueError: no curve has a point.
    """
    if not any(len(curve.x) for curve in curves):
        raise ValueError(f"the picture {title!r} has no points to draw")
    lines = dict(lines or {})

    def draw(figure: "Figure", axes: "Axes", theme: Theme) -> None:
        del figure
        for curve in curves:
            few = len(curve.x) <= 40 and not curve.faint
            axes.plot(
                curve.x,
                curve.y,
                color=COLORS[curve.color % len(COLORS)],
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
        axes.set_ylim(*_vertical_range(curves, lines.values(), log_y))
        axes.grid(color=theme.grid, linewidth=0.6)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        add_legend(axes, theme)

    write_picture(draw, path, title)


def _vertical_range(
    curves: Sequence[Curve], lines: Iterable[float], log_y: bool
) -> tuple[float, float]:
    last = max(max(curve.x) for curve in curves if len(curve.x))
    values = list(lines)
    for curve in curves:
        x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
        visible = y[np.isfinite(y) & ((x >= last / 10) | (len(x) < 10))]
        if curve.faint and len(visible):  # a single batch must not determine the range
            visible = np.percentile(visible, [1, 99])
        values.extend(visible)
    values = [value for value in values if np.isfinite(value) and (value > 0 or not log_y)]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    if log_y:
        factor = max(high / low, 1.1) ** 0.08
        return low / factor, high * factor
    margin = max(high - low, abs(high) * 0.02, 1e-6) * 0.08
    return low - margin, high + margin


def write_codebook_picture(counts: np.ndarray, path: str | os.PathLike, title: str) -> None:
    """Writes a picture of the use of each code (`counts` [codebook_size]), the most used first.

    Raises:
      ValueError: all counts are 0.
    """
    counts = np.sort(np.asarray(counts, np.float64))[::-1]
    if counts.sum() <= 0:
        raise ValueError(f"the picture {title!r} needs at least one code, got none")
    share = 100 * counts / counts.sum()
    used = int((counts > 0).sum())

    def draw(figure: "Figure", axes: "Axes", theme: Theme) -> None:
        del figure
        rank = np.arange(used + 1) + 0.5
        axes.stairs(share[:used], rank, fill=True, color=COLORS[1], alpha=0.85, zorder=2)
        even = 100 / len(counts)
        axes.axhline(even, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        axes.annotate(
            "uniform use",
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

    write_picture(draw, path, title)


def add_legend(axes: "Axes", theme: Theme) -> None:
    """Adds a legend of the lines of a picture."""
    legend = axes.legend(fontsize=6.5, frameon=True, facecolor=theme.paper, framealpha=0.85)
    legend.get_frame().set_edgecolor(theme.grid)
    for text in legend.get_texts():
        text.set_color(theme.ink)


def write_picture(draw: Draw, path: str | os.PathLike, title: str, box: Box | None = None) -> None:
    """Writes a picture in both themes; `draw` draws one of them.

    Args:
      box: left, bottom, width and height of the axes as shares of the picture; None: computed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    for theme in _THEMES:
        size = (WIDTH / _DPI, HEIGHT / _DPI)
        figure = Figure(figsize=size, dpi=_DPI, facecolor=theme.paper)
        if box is None:
            figure.set_layout_engine("constrained")
            axes = figure.add_subplot(facecolor=theme.paper)
        else:
            axes = figure.add_axes(box, facecolor=theme.paper)
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
            FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
