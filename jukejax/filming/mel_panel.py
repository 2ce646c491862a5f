"""The mel spectrogram of a page of bars, and a playhead that moves over it.

What was played is bright, what follows is dim. A frame redraws the columns between the last
position of the playhead and the next.
"""

import math
from typing import NamedTuple

import numpy as np

from jukejax.filming import style
from jukejax.filming.layout import Layout, even
from jukejax.filming.lettering import Lettering
from jukejax.filming.planes import Color, Picture, Rect, color_values, make_picture
from jukejax.filming.timeline import Timeline

_DIM = 0.42  # brightness of what follows


class Page(NamedTuple):
    """A part of the track that is shown at once, in seconds."""

    start: float
    stop: float


def plan_pages(timeline: Timeline, page_seconds: float) -> list[Page]:
    """Divides a track into pages of whole bars, or without a grid of equal times.

    A track of up to one and a half pages has one.
    """
    if timeline.seconds <= 1.5 * page_seconds:
        return [Page(0.0, timeline.seconds)]
    start, length = 0.0, page_seconds
    if timeline.bar_seconds is not None and timeline.first_downbeat is not None:
        bars = max(2 ** round(math.log2(page_seconds / timeline.bar_seconds)), 1)
        start = timeline.first_downbeat % timeline.bar_seconds
        start -= timeline.bar_seconds if start > 1e-6 else 0.0
        length = bars * timeline.bar_seconds
    count = math.ceil((timeline.seconds - start) / length - 1e-9)
    return [Page(start + n * length, start + (n + 1) * length) for n in range(count)]


class MelPanel:
    """Draws the spectrogram, the playhead, and the numbers of the bars; frames in order."""

    def __init__(self, timeline: Timeline, layout: Layout, lettering: Lettering):
        self._timeline, self._lettering = timeline, lettering
        self._rect, self._ticks, self._unit = layout.mel, layout.ticks, layout.unit
        self._pages = plan_pages(timeline, layout.page_seconds)
        self._page = -1  # that of the last frame
        self._bright = make_picture(2, 2)
        self._drawn = 0  # columns of the page that are bright
        self._head = max(even(4 * layout.unit), 2)

    def find_column(self, frame: int) -> int:
        """Returns the column of the playhead, even, from the left edge of the panel."""
        time = self._timeline.times[frame]
        page = self._pages[self._find_page(frame)]
        share = (time - page.start) / (page.stop - page.start)
        return min(int(share * self._rect.width) // 2 * 2, self._rect.width - 2)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame."""
        number = self._find_page(frame)
        panel = canvas.crop(self._rect)
        if number != self._page:
            self._page, self._drawn = number, 0
            self._bright = self._draw_page(self._pages[number])
            panel.paste(_darken(self._bright))
            self._draw_ticks(canvas.crop(self._ticks), self._pages[number])
        column = self.find_column(frame)
        played = Rect(self._drawn, 0, column - self._drawn, self._rect.height)
        panel.crop(played).paste(self._bright.crop(played))
        self._drawn = column
        width = min(self._head, self._rect.width - column)
        panel.crop(Rect(column, 0, width, self._rect.height)).fill(style.INK)

    def _find_page(self, frame: int) -> int:
        first, time = self._pages[0], self._timeline.times[frame]
        return min(int((time - first.start) / (first.stop - first.start)), len(self._pages) - 1)

    def _draw_page(self, page: Page) -> Picture:
        """Draws the spectrogram of a page, with lines at the bars."""
        timeline, (_, _, width, height) = self._timeline, self._rect
        times = page.start + (np.arange(width) + 0.5) / width * (page.stop - page.start)
        levels = _interpolate(timeline.mel, times * timeline.mel_rate)
        bands = np.arange(height - 1, -1, -1) / max(height - 1, 1) * (levels.shape[1] - 1)
        field = _interpolate(levels.T, bands)  # [height, width]
        field[:, (times < 0) | (times > timeline.seconds)] = 0
        picture = color_values(np.rint(255 * field).astype(np.uint8), style.MEL_RAMP)
        for _, column in self._list_bars(page):
            if 0 < column < width - 2:
                line = picture.crop(Rect(column, 0, 2, height))
                line.blend(style.INK, np.tile(np.array([70, 0], np.uint8), (height, 1)))
        return picture

    def _list_bars(self, page: Page) -> list[tuple[int, int]]:
        """Returns the numbers of the bars of a page, from 1, and their columns."""
        bar, first = self._timeline.bar_seconds, self._timeline.first_downbeat
        if bar is None or first is None:
            return []
        scale = self._rect.width / (page.stop - page.start)
        low = math.ceil((page.start - first) / bar - 1e-6)
        high = math.ceil((min(page.stop, self._timeline.seconds) - first) / bar - 1e-6)
        return [
            (number + 1, even((first + number * bar - page.start) * scale))
            for number in range(low, high)
        ]

    def _draw_ticks(self, strip: Picture, page: Page) -> None:
        strip.fill(style.BACKGROUND)
        width, height = strip.size
        size = round(20 * self._unit)
        labels = [(str(number), column) for number, column in self._list_bars(page)]
        if not labels:
            seconds = range(math.ceil(page.start), math.ceil(page.stop), 2)
            scale = width / (page.stop - page.start)
            labels = [(f"{time} s", even((time - page.start) * scale)) for time in seconds]
        if height < size or size < 6:
            return
        step = math.ceil(len(labels) * 40 * self._unit / width)
        for text, column in labels[::step]:
            mask = self._lettering.draw(text, size, width)[:height]
            if column >= 0 and column + mask.shape[1] <= width:
                place = Rect(column, 0, mask.shape[1], mask.shape[0])
                strip.crop(place).blend(style.QUIET, mask)


def _interpolate(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolates rows at fractional numbers; numbers out of range take the nearest row."""
    at = np.clip(at, 0, len(rows) - 1)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low)[:, None].astype(np.float32)
    return rows[low] * (1 - share) + rows[high] * share


def _darken(picture: Picture) -> Picture:
    """Returns a dim picture with less color."""
    dark: Color = style.PANEL
    return Picture(
        *(
            np.rint(value + _DIM * (plane.astype(np.float32) - value)).astype(np.uint8)
            for plane, value in zip(picture, dark, strict=True)
        )
    )
