"""Text and beat marks of a video: title, tempo and key, time, and four dots for the beats."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jukejax.common.formatting import format_clock
from jukejax.data.grid import BEATS_PER_BAR
from jukejax.filming import style
from jukejax.filming.layout import Layout, even
from jukejax.filming.lettering import Lettering
from jukejax.filming.planes import Color, Picture, Rect
from jukejax.filming.timeline import Timeline

_TITLE, _LINE, _BAR = 38, 24, 68  # sizes of the font, pixels of the design
_DOT, _DOT_STEP = 7, 26  # radius of a dot, distance of two


@dataclass(frozen=True)
class Text:
    """The text of a video, cleaned.

    Attributes:
      title, subtitle: at the left.
      music: tempo and key, at the right.
    """

    title: str
    subtitle: str
    music: str


class _Stamp(NamedTuple):
    """A mask, its place and its color."""

    place: Rect
    mask: np.ndarray
    color: Color


class Captions:
    """Draws the text over the stage."""

    def __init__(self, timeline: Timeline, layout: Layout, lettering: Lettering, text: Text):
        self._timeline, self._layout, self._lettering = timeline, layout, lettering
        line = layout.text
        half = even(line.width * (0.36 if layout.shape.y < line.y + line.height else 0.6))
        self._rest = line.width - half
        title, size = self._scale(_TITLE), self._scale(_LINE)
        second = even(line.y + 1.35 * lettering.measure_height(title))
        self._second, self._size = second, size
        self._fixed = [
            self._stamp(text.title, title, line.x, line.y, half, style.INK),
            self._stamp(text.subtitle, size, line.x, second, half, style.QUIET),
            self._stamp_right(text.music, size, line.y + (title - size) // 2, style.INK),
        ]
        self._clock = ("", self._fixed[0])  # text of the time, and its mask

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame over the stage."""
        time = format_clock(float(int(self._timeline.times[frame])))
        clock = f"{time} / {format_clock(self._timeline.seconds)}"
        if clock != self._clock[0]:
            self._clock = (clock, self._stamp_right(clock, self._size, self._second, style.QUIET))
        for stamp in (*self._fixed, self._clock[1]):
            canvas.crop(stamp.place).blend(stamp.color, stamp.mask)

    def _scale(self, size: int) -> int:
        return round(size * self._layout.unit)

    def _stamp(self, text: str, size: int, x: int, y: int, max_width: int, color: Color) -> _Stamp:
        mask = self._lettering.draw(text, size, max_width)
        return _Stamp(Rect(x, even(y), mask.shape[1], mask.shape[0]), mask, color)

    def _stamp_right(self, text: str, size: int, y: int, color: Color) -> _Stamp:
        stamp = self._stamp(text, size, 0, y, self._rest, color)
        line = self._layout.text
        x = line.x + line.width - stamp.place.width
        return stamp._replace(place=stamp.place._replace(x=even(x)))


class BeatMarks:
    """Draws the number of the bar in the shape, and a dot for each beat of the bar below it."""

    def __init__(self, timeline: Timeline, layout: Layout, lettering: Lettering):
        self._timeline, self._layout, self._lettering = timeline, layout, lettering
        self._size = round(_BAR * layout.unit)
        self._dot = _draw_dot(max(_DOT * layout.unit, 1.5))
        self._bar = -1
        self._number = np.zeros((2, 2), np.uint8)

    def place_dot(self, beat: int) -> Rect:
        """Returns the square of the dot of a beat, 0 to 3."""
        shape, side = self._layout.shape, self._dot.shape[0]
        step = max(even(_DOT_STEP * self._layout.unit), side)
        middle = shape.x + shape.width / 2 + (beat - (BEATS_PER_BAR - 1) / 2) * step
        top = shape.y + shape.height * 0.58
        return Rect(even(middle - side / 2), even(top), side, side)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame over the shape; nothing without a grid."""
        beats = self._timeline.beats
        if beats is None:
            return
        beat = int(np.floor(beats[frame]))
        bar, now = beat // BEATS_PER_BAR, beat % BEATS_PER_BAR
        if bar != self._bar:
            self._bar = bar
            width = even(self._layout.shape.width * 0.3)
            self._number = self._lettering.draw(str(bar + 1), self._size, width)
        shape, (height, width) = self._layout.shape, self._number.shape
        x = even(shape.x + (shape.width - width) / 2)
        y = even(shape.y + shape.height * 0.475 - height / 2)
        canvas.crop(Rect(x, y, width, height)).blend(style.INK, self._number)
        for number in range(BEATS_PER_BAR):
            strength = 0.22
            if number == now:
                strength = 0.6 + 0.4 * float(self._timeline.flash[frame])
            mask = (self._dot * strength).astype(np.uint8)
            canvas.crop(self.place_dot(number)).blend(style.INK, mask)


def _draw_dot(radius: float) -> np.ndarray:
    """Returns the coverage of a dot, uint8 [side, side], even."""
    side = even(2 * radius + 2)
    offset = np.arange(side) - (side - 1) / 2
    distance = np.hypot(offset[:, None], offset[None, :])
    return np.rint(255 * np.clip(radius + 0.5 - distance, 0, 1)).astype(np.uint8)
