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
_INNER, _RANGE = 0.40, 0.50  # radii of the ring and of the outlines over it, share of the whole
_GROWTH = 0.05  # of the radius with a kick
_FOLLOW = (0.35, 1.1)  # seconds in which the slow outlines follow
_LAYERS = ((0.38, "#2c7184"), (0.30, "#1d4a66"), (0.34, "#1a3550"))  # opacity and color
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
        self._outlines = _compute_outlines(timeline)  # [3, N, angles], 0 to 1
        self._flash, self._kick = timeline.flash, timeline.kick
        ring = _INNER * self._size
        width = max(3 * layout.unit, 1.0)
        self._ring = _draw_ring(radius, ring - 2.5 * width, width)
        self._glow = _draw_disc(radius, ring - 4 * width)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame over what the canvas shows."""
        target = canvas.crop(self._rect)
        grown = self._size * (1 - _GROWTH + _GROWTH * float(self._kick[frame]))
        luma = target.y.astype(np.int16)
        chroma = [plane.astype(np.int16) for plane in (target.u, target.v)]
        for outline, (opacity, code) in zip(self._outlines[::-1], _COLORS[::-1], strict=True):
            limit = grown * (_INNER + _RANGE * outline[frame]) * _SUB
            coverage = np.rint(limit).astype(np.int16)[self._angle]
            coverage -= self._radius
            np.clip(coverage, 0, _SUB, out=coverage)
            coverage *= round(opacity * 256 / _SUB)
            _mix(luma, code[0], coverage)
            small = coverage[::2, ::2]
            for plane, value in zip(chroma, code[1:], strict=True):
                _mix(plane, value, small)
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


def _compute_outlines(timeline: Timeline) -> np.ndarray:
    """Returns the present and the slower outlines by angle, float32 [3, N, angles]."""
    padded = np.pad(timeline.spectrum, ((0, 0), (2, 2)), mode="edge")
    current = sum(w * padded[:, i : i + NUM_BANDS] for i, w in enumerate(_SMOOTHING))
    at = (np.arange(_ANGLES) + 0.5) / _ANGLES * NUM_BANDS - 0.5
    low = np.clip(np.floor(at).astype(np.int64), 0, NUM_BANDS - 2)
    share = np.clip(at - low, 0, 1).astype(np.float32)
    bands = [np.asarray(current, np.float32) ** 1.5]
    for seconds in _FOLLOW:
        slow, fall = bands[0].copy(), math.exp(-1 / (timeline.fps * seconds))
        for n in range(1, len(slow)):
            slow[n] = np.maximum(slow[n], fall * slow[n - 1])
        bands.append(slow)
    return np.stack([b[:, low] * (1 - share) + b[:, low + 1] * share for b in bands])


def _draw_ring(radius: np.ndarray, at: float, width: float) -> np.ndarray:
    """Returns the coverage of a ring, 0 to 256, int16."""
    coverage = np.clip(width / 2 + 0.5 - np.abs(radius - at), 0, 1)
    return np.rint(256 * coverage).astype(np.int16)


def _draw_disc(radius: np.ndarray, limit: float) -> np.ndarray:
    """Returns the coverage of a disc, 0 to 255, uint8."""
    return np.rint(255 * np.clip(limit + 0.5 - radius, 0, 1)).astype(np.uint8)
