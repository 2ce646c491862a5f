"""A round shape whose outline is the spectrum, with the number of the bar in its middle.

The outline is symmetric: low bands at the bottom, high ones at the top. Three outlines are drawn,
of the present spectrum and of two that follow it more slowly. The ring in the middle flashes with
the beats, and the shape grows with the kicks.
"""

import math

import numpy as np

from jukejax.filming import style
from jukejax.filming.layout import Layout
from jukejax.filming.planes import Color, Picture, halve
from jukejax.filming.timeline import NUM_BANDS, Timeline

_ANGLES = 512  # of an outline, over half a turn
_SUB = 16  # steps of a radius for a pixel
_INNER, _RANGE = 0.42, 0.54  # radii of the ring and of the outlines over it, share of the whole
_GROWTH = 0.06  # of the radius with a kick
_FOLLOW = (0.35, 1.1)  # seconds in which the slow outlines follow
_LAYERS = ((0.42, "#2c7184"), (0.36, "#1d4a66"), (0.42, "#182c42"))  # opacity and color
_LINE = 1.5  # half of the width of the present outline, pixels of the design
_LINE_OPACITY = 112  # of 256
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16  # of neighboring bands


class SpectrumShape:
    """Draws the shape."""

    def __init__(self, timeline: Timeline, layout: Layout):
        self._rect = layout.shape
        side = layout.shape.width
        offset = np.arange(side) - (side - 1) / 2
        radius = np.hypot(offset[:, None], offset[None, :])
        angle = np.arctan2(np.abs(offset)[None, :], offset[:, None])  # 0 at the bottom, pi on top
        self._angle = np.minimum((angle / math.pi * _ANGLES).astype(np.int16), _ANGLES - 1)
        self._radius = np.rint(radius * _SUB).astype(np.int16)
        self._size = side / 2
        self._bands = _follow_bands(timeline)  # [3, N, bands]
        at = (np.arange(_ANGLES) + 0.5) / _ANGLES * NUM_BANDS - 0.5
        self._low = np.clip(np.floor(at).astype(np.int64), 0, NUM_BANDS - 2)
        self._share = np.clip(at - self._low, 0, 1).astype(np.float32)
        self._flash, self._kick = timeline.flash, timeline.kick
        ring = _INNER * self._size
        width = max(3 * layout.unit, 1.0)
        self._ring = _draw_ring(radius, ring - 2.5 * width, width)
        self._line = round(max(_LINE * layout.unit, 0.5) * _SUB)
        self._glow = _draw_disc(radius, ring - 4 * width)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame over what the canvas shows."""
        target = canvas.crop(self._rect)
        grown = self._size * (1 - _GROWTH + _GROWTH * float(self._kick[frame]))
        luma = target.y.astype(np.int16)
        chroma = [plane.astype(np.int16) for plane in (target.u, target.v)]
        for bands, (opacity, code) in zip(self._bands[::-1, frame], _COLORS[::-1], strict=True):
            low, high = bands[self._low], bands[self._low + 1]
            outline = low + self._share * (high - low)
            limit = grown * (_INNER + _RANGE * outline) * _SUB
            coverage = np.rint(limit).astype(np.int16)[self._angle]
            coverage -= self._radius
            inside = np.clip(coverage, 0, _SUB)
            inside *= round(opacity * 256 / _SUB)
            _mix(luma, code[0], inside)
            small = inside[::2, ::2]
            for plane, value in zip(chroma, code[1:], strict=True):
                _mix(plane, value, small)
        np.abs(coverage, out=coverage)  # of the present outline, which is drawn last
        line = np.clip(self._line + _SUB - coverage, 0, _SUB)
        line *= _LINE_OPACITY // _SUB
        _mix(luma, style.INK[0], line)
        flash = float(self._flash[frame])
        if flash > 0.01:
            _mix(luma, style.ACCENT[0], (self._glow * (0.55 * flash)).astype(np.int16))
            small = (halve(self._glow) * (0.55 * flash)).astype(np.int16)
            for plane, value in zip(chroma, style.ACCENT[1:], strict=True):
                _mix(plane, value, small)
        ring = (self._ring * (0.25 + 0.75 * flash)).astype(np.int16)
        _mix(luma, style.INK[0], ring)
        target.paste(Picture(*(plane.astype(np.uint8) for plane in (luma, *chroma))))


_COLORS: list[tuple[float, Color]] = [
    (opacity, style.convert_color(code)) for opacity, code in _LAYERS
]


def _mix(plane: np.ndarray, value: int, coverage: np.ndarray) -> None:
    """Moves a plane, int16, towards a value; a coverage of 256 is opaque."""
    step = np.subtract(value, plane, dtype=np.int16)
    # Products of up to 220 x 256 need more than 15 bits: half of both is exact enough.
    step *= coverage >> 1
    step >>= 7
    plane += step


def _follow_bands(timeline: Timeline) -> np.ndarray:
    """Returns the present levels and two that fall more slowly, 0 to 1, float32 [3, N, bands]."""
    padded = np.pad(timeline.spectrum, ((0, 0), (2, 2)), mode="edge")
    current = sum(w * padded[:, i : i + NUM_BANDS] for i, w in enumerate(_SMOOTHING))
    bands = [np.asarray(current, np.float32) ** 1.3]
    for seconds in _FOLLOW:
        slow, fall = bands[0].copy(), math.exp(-1 / (timeline.fps * seconds))
        for n in range(1, len(slow)):
            slow[n] = np.maximum(slow[n], fall * slow[n - 1])
        bands.append(slow)
    return np.stack(bands)


def _draw_ring(radius: np.ndarray, at: float, width: float) -> np.ndarray:
    """Returns the coverage of a ring, 0 to 256, int16."""
    coverage = np.clip(width / 2 + 0.5 - np.abs(radius - at), 0, 1)
    return np.rint(256 * coverage).astype(np.int16)


def _draw_disc(radius: np.ndarray, limit: float) -> np.ndarray:
    """Returns the coverage of a disc, 0 to 255, uint8."""
    return np.rint(255 * np.clip(limit + 0.5 - radius, 0, 1)).astype(np.uint8)
