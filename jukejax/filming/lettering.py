"""Text in a video: cleaned, cut to its width, and drawn as a mask by FreeType (Pillow).

Text of users may hold anything: control characters, marks of the writing direction, thousands of
characters, stacks of accents, and letters that the font lacks.
"""

import functools
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.common import files

if TYPE_CHECKING:
    from PIL import ImageFont

_LONGEST = 200  # characters
_MARKS = 2  # accents on a letter
_ELLIPSIS = "…"


class Lettering:
    """Draws text in one font."""

    def __init__(self, font: str | None = None):
        """Opens a font.

        Args:
          font: TrueType or OpenType file; None: DejaVu Sans, which matplotlib has: Latin, Greek,
            Cyrillic, Armenian, Georgian.

        Raises:
          ValueError: the file is no font.
        """
        self._path = font or str(_find_default_font())
        if font is not None:
            files.check_regular(font)
        try:
            self._characters = _read_characters(self._path)
            self._open_size(12)
        except Exception as error:  # fontTools and FreeType raise errors of many types
            raise ValueError(
                f"--font={self._path} cannot be read as a font ({error}); give a .ttf or .otf file"
            ) from error

    def find_missing(self, text: str) -> str:
        """Returns the characters of a text that the font lacks, each once."""
        missing = {c for c in text if not c.isspace() and ord(c) not in self._characters}
        return "".join(sorted(missing))

    def measure_height(self, size: int) -> int:
        """Returns the pixels of a line, without the gap to the next one."""
        ascent, descent = self._open_size(size).getmetrics()
        return ascent + descent

    def draw(self, text: str, size: int, max_width: int) -> np.ndarray:
        """Draws a line of text: coverage uint8 [height, width], both even.

        Args:
          size: of the font in pixels.
          max_width: pixels; longer text ends with an ellipsis.
        """
        from PIL import Image, ImageDraw

        font = self._open_size(size)
        text = _fit(font, text, max_width)
        width = min(int(np.ceil(font.getlength(text))) + 2, max_width)
        height = self.measure_height(size) + 2
        image = Image.new("L", (max(width + width % 2, 2), height + height % 2))
        ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
        return np.asarray(image)

    def _open_size(self, size: int) -> "ImageFont.FreeTypeFont":
        return _open_font(self._path, max(size, 4))


@functools.lru_cache(maxsize=32)
def _open_font(path: str, size: int) -> "ImageFont.FreeTypeFont":
    from PIL import ImageFont

    # The basic layout is the same everywhere; that of Raqm depends on the libraries of the system.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _find_default_font() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@functools.lru_cache(maxsize=4)
def _read_characters(path: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    # TTFont leaves a file that it opened itself, and that is no font, open.
    with open(path, "rb") as file, TTFont(file, fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


def clean_text(text: str) -> str:
    """Returns a line of text that can be drawn and written into tags.

    Characters without a shape (control characters, marks of direction, halves of surrogate pairs)
    become spaces, runs of spaces one, and a letter keeps two accents; long text is cut.
    """
    letters: list[str] = []
    marks = 0
    for letter in unicodedata.normalize("NFC", text[: 8 * _LONGEST]):
        category = unicodedata.category(letter)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MARKS:
            letters.append(" " if category[0] in "CZ" else letter)
    return " ".join("".join(letters).split())[:_LONGEST]


def _fit(font: "ImageFont.FreeTypeFont", text: str, max_width: int) -> str:
    """Returns the text, or as much of it as fits with an ellipsis."""
    if font.getlength(text) <= max_width:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + _ELLIPSIS) <= max_width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS
