"""The codes of each level as a lattice of cells that moves from right to left.

A cell is a code, a column the codes of the same short time. Four codes of a level take the time of
one code of the level above, and a cell has half its side: the cells of all levels have the same
area for the same time. The codes that sound now are at the playhead; what follows is dim.

The color of a code is computed from the track: the mean spectrum of the sounds at which it occurs
gives its hue (dull to bright sounds) and its lightness (soft to loud ones), so that similar sounds
have similar colors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jukejax.filming import style
from jukejax.filming.layout import Layout, even
from jukejax.filming.planes import Picture, Rect, make_ramp
from jukejax.filming.timeline import Timeline

SPEED = 240  # pixels a second at the usual size
HEAD = 0.5  # place of the playhead, share of the width
_CELL = 8  # pixels of a cell of the coarsest level, at the usual size
_DIM = 0.30  # brightness of what follows
_EDGE = 0.04  # share of the width in which the ends fade out
_LEAST_GAP = 4  # pixels of a cell that is large enough for a gap of one sample beside it
_HUES = 64
_DARKEST, _LIGHTEST = 0.10, 1.0
_VARIETY = 0.22  # differences in lightness between codes of the same sound


@dataclass(frozen=True)
class Codes:
    """Codes of a track.

    Attributes:
      levels: int32 [t], by level.
      rates: codes a second, by level.
    """

    levels: Mapping[int, np.ndarray]
    rates: Mapping[int, float]


class Lattice:
    """Draws the lattices of the levels."""

    def __init__(self, timeline: Timeline, layout: Layout, codes: Codes):
        step = max(even(SPEED * layout.unit / timeline.fps), 2)  # pixels a frame
        coarsest = max(codes.levels, default=0)
        self._rows = []
        for rect, level in zip(layout.lattice, sorted(codes.levels, reverse=True), strict=True):
            cell = max(even(_CELL * layout.unit), 4)
            cell = max(cell >> (coarsest - level), 1)
            colors = color_codes(codes.levels[level], codes.rates[level], timeline)
            self._rows.append(
                LatticeRow(
                    rect, codes.levels[level], colors, codes.rates[level], cell, step, timeline.fps
                )
            )

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame."""
        for row in self._rows:
            row.draw(canvas, frame)


class LatticeRow:
    """Draws the lattice of one level."""

    def __init__(
        self,
        rect: Rect,
        codes: np.ndarray,
        colors: np.ndarray,
        rate: float,
        cell: int,
        step: int,
        fps: int,
    ):
        """Prepares the cells.

        Args:
          colors: of each code, uint8 [codes, 3].
          rate: codes a second.
          cell, step: pixels of a cell, and of the motion from frame to frame.
        """
        self._rect, self._cell, self._step = rect, cell, step
        self._head = even(rect.width * HEAD)
        self._per_column = rate * cell / (step * fps)  # codes
        self._cells = colors[codes]  # [t, 3]
        num_rows = math.ceil(self._per_column)
        # The rate is no multiple of that of columns: one code of some columns has two cells.
        self._places = np.arange(num_rows) * (self._per_column / num_rows)
        self._least_side = min(cell, rect.height / num_rows)
        self._row_of = np.arange(rect.height) * num_rows // rect.height
        columns = np.arange(rect.width)
        bright = np.where(columns < self._head, 1.0, _DIM)
        edge = np.minimum(columns, rect.width - columns) / (_EDGE * rect.width)
        self._weights = np.rint(256 * bright * np.clip(edge, 0, 1)).astype(np.int16)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame."""
        # Pixels from the start of the track; a frame shows the middle of its time.
        left = frame * self._step + self._step // 2 - self._head
        first = left // self._cell
        count = self._rect.width // self._cell + 2
        offset = left - first * self._cell
        cells = self._take_columns(first, count)  # [rows, columns, 3]
        panel = canvas.crop(self._rect)
        for number, plane in enumerate(panel):
            scale = 1 if number == 0 else 2
            self._draw_plane(plane, cells[..., number], offset, scale, style.PANEL[number])
        line = Rect(self._head, 0, 2, self._rect.height)
        panel.crop(line).fill(style.INK)

    def _take_columns(self, first: int, count: int) -> np.ndarray:
        starts = np.arange(first, first + count) * self._per_column
        at = np.floor(starts[None, :] + self._places[:, None]).astype(np.int64)
        inside = (at >= 0) & (at < len(self._cells))
        cells = self._cells[np.clip(at, 0, len(self._cells) - 1)]
        return np.where(inside[..., None], cells, np.array(style.PANEL, np.uint8))

    def _draw_plane(
        self, plane: np.ndarray, cells: np.ndarray, offset: int, scale: int, background: int
    ) -> None:
        """Enlarges the cells into a plane.

        Args:
          scale: pixels of a sample of the plane.
        """
        pixels = np.arange(plane.shape[1]) * scale + offset
        row_of = self._row_of[::scale]
        values = cells[:, pixels // self._cell].astype(np.int16) - background
        values = (values * self._weights[::scale] >> 8) + background
        plane[...] = values.astype(np.uint8)[row_of]
        if self._least_side >= _LEAST_GAP * scale:
            plane[1:][np.diff(row_of) > 0] = background
            plane[:, pixels % self._cell < scale] = background


def color_codes(codes: np.ndarray, rate: float, timeline: Timeline) -> np.ndarray:
    """Returns the color of each code by the sound at which it occurs, uint8 [codes, 3]."""
    number = int(codes.max(initial=0)) + 1
    frames = np.minimum(
        (np.arange(len(codes)) / rate * timeline.mel_rate).astype(np.int64), len(timeline.mel) - 1
    )
    bands = np.arange(timeline.mel.shape[1])
    loudness = timeline.mel.mean(axis=1)
    weighted = (timeline.mel * bands).sum(axis=1)  # no matrix product: its last bits differ
    brightness = weighted / np.maximum(timeline.mel.sum(axis=1), 1e-6)
    hue, lightness = (
        _rank(_average_by_code(feature[frames], codes, number), codes)
        for feature in (brightness, loudness)
    )
    jitter = (np.arange(number) * 0.6180339887) % 1 - 0.5  # golden ratio: neighbors differ
    lightness = np.clip(lightness + _VARIETY * jitter, 0, 1)
    hues = make_ramp(list(style.CODE_HUES), _HUES)
    color = hues[np.minimum((hue * _HUES).astype(np.int64), _HUES - 1)].astype(np.float64)
    share = (_DARKEST + (_LIGHTEST - _DARKEST) * lightness**2)[:, None]
    panel = np.array(style.PANEL, np.float64)
    return np.rint(panel + share * (color - panel)).astype(np.uint8)


def _average_by_code(values: np.ndarray, codes: np.ndarray, number: int) -> np.ndarray:
    counts = np.bincount(codes, minlength=number)
    return np.bincount(codes, values, minlength=number) / np.maximum(counts, 1)


def _rank(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Returns the share of the positions of the track whose code has a lower value, 0 to 1."""
    order = np.argsort(values, kind="stable")
    counts = np.bincount(codes, minlength=len(values))[order]
    ranks = np.empty(len(values))
    ranks[order] = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)
    return ranks
