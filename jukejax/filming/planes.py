"""Pictures as the three planes of YUV 4:2:0, in which video is encoded.

Layers draw in this form, so that no frame is converted: at 1920x1080 the conversion of an RGB frame
takes longer than drawing it. Colors are those of BT.709 in limited range (luma 16 to 235). The
luma plane has a sample for each pixel, the two chroma planes one for each 2x2 pixels, so that the
edges of all rectangles are even.
"""

from typing import NamedTuple

import numpy as np

BLACK = (16, 128, 128)
_RED, _BLUE = 0.2126, 0.0722  # BT.709
_GREEN = 1 - _RED - _BLUE
Color = tuple[int, int, int]  # Y, U, V


class Rect(NamedTuple):
    """A rectangle in pixels; all values are even."""

    x: int
    y: int
    width: int
    height: int


class Picture(NamedTuple):
    """A picture: y is uint8 [height, width], u and v are uint8 [height / 2, width / 2]."""

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Returns the width and the height in pixels."""
        return self.y.shape[1], self.y.shape[0]

    def crop(self, rect: Rect) -> "Picture":
        """Returns a view of a part."""
        x, y, width, height = rect
        luma = self.y[y : y + height, x : x + width]
        rows, columns = slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2)
        return Picture(luma, self.u[rows, columns], self.v[rows, columns])

    def paste(self, other: "Picture") -> None:
        """Copies a picture of the same size into this one."""
        for plane, source in zip(self, other, strict=True):
            plane[...] = source

    def fill(self, color: Color) -> None:
        """Fills the picture with one color."""
        for plane, value in zip(self, color, strict=True):
            plane[...] = value

    def copy(self) -> "Picture":
        """Returns a copy."""
        return Picture(*(np.ascontiguousarray(plane).copy() for plane in self))

    def blend(self, color: Color, coverage: np.ndarray) -> None:
        """Draws a color where the coverage, uint8 [height, width], is above 0; 255: opaque."""
        _blend_plane(self.y, color[0], coverage)
        small = halve(coverage)
        _blend_plane(self.u, color[1], small)
        _blend_plane(self.v, color[2], small)


def _blend_plane(plane: np.ndarray, value: int, coverage: np.ndarray) -> None:
    difference = value - plane.astype(np.int16)
    plane += ((difference * coverage.astype(np.int32) + 127) // 255).astype(np.uint8)


def halve(plane: np.ndarray) -> np.ndarray:
    """Averages 2x2 samples of a plane, uint8 [2 h, 2 w] -> uint8 [h, w]."""
    rows = plane[0::2].astype(np.uint16) + plane[1::2]
    return ((rows[:, 0::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def make_picture(width: int, height: int, color: Color = BLACK) -> Picture:
    """Returns a picture of one color."""
    y, u, v = color
    half = (height // 2, width // 2)
    return Picture(
        np.full((height, width), y, np.uint8),
        np.full(half, u, np.uint8),
        np.full(half, v, np.uint8),
    )


def convert_colors(rgb: np.ndarray) -> np.ndarray:
    """Converts RGB values of 0 to 255 to YUV, [..., 3] -> uint8 [..., 3]."""
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float64) / 255, -1, 0)
    luma = _RED * red + _GREEN * green + _BLUE * blue
    y = 16 + 219 * luma
    u = 128 + 224 * (blue - luma) / (2 * (1 - _BLUE))
    v = 128 + 224 * (red - luma) / (2 * (1 - _RED))
    return np.rint(np.stack([y, u, v], axis=-1)).astype(np.uint8)


def convert_color(code: str) -> Color:
    """Converts a color such as "#e4622e"."""
    y, u, v = convert_colors(np.array(list(bytes.fromhex(code.removeprefix("#")))))
    return int(y), int(u), int(v)


def convert_image(rgb: np.ndarray) -> Picture:
    """Converts an image, uint8 [height, width, 3] of even sizes."""
    yuv = convert_colors(rgb)
    return Picture(
        np.ascontiguousarray(yuv[..., 0]),
        halve(np.ascontiguousarray(yuv[..., 1])),
        halve(np.ascontiguousarray(yuv[..., 2])),
    )


def make_ramp(codes: list[str], size: int = 256) -> np.ndarray:
    """Interpolates between colors at equal distances, uint8 [size, 3] in YUV."""
    stops = np.array([list(bytes.fromhex(code.removeprefix("#"))) for code in codes], np.float64)
    at = np.linspace(0, len(stops) - 1, size)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)]
    return convert_colors(np.stack(channels, axis=-1))


def color_values(values: np.ndarray, ramp: np.ndarray) -> Picture:
    """Colors a field by a ramp: uint8 [height, width] of even sizes, numbers of the ramp's rows."""
    y, u, v = (np.ascontiguousarray(ramp[:, i]) for i in range(3))
    return Picture(y[values], halve(u[values]), halve(v[values]))
