"""Places of the parts of a picture, by form and size."""

from dataclasses import dataclass

from jukejax.filming.planes import Rect

SMALLEST, LARGEST = 90, 4320  # pixels of a side


@dataclass(frozen=True)
class Form:
    """The design of a form, in pixels of its usual size.

    Attributes:
      size: width and height.
      stage: height of the upper part, with the text, the shape and the images.
      shape: x, y and radius of the shape.
      panels: top of the code lattice and bottom of the mel spectrogram.
      page_seconds: time that the mel spectrogram shows, about.
    """

    size: tuple[int, int]
    stage: int
    shape: tuple[int, int, int]
    panels: tuple[int, int]
    page_seconds: float


FORMS = {
    "wide": Form((1920, 1080), 500, (960, 258, 226), (516, 1032), 16.0),
    "square": Form((1080, 1080), 560, (540, 346, 196), (572, 1032), 8.0),
    "upright": Form((1080, 1920), 1080, (540, 640, 370), (1096, 1760), 8.0),
}
_MARGIN, _GAP, _LEVEL_HEIGHT = 64, 24, 92  # pixels of the design


@dataclass(frozen=True)
class Layout:
    """The places of the parts.

    Attributes:
      size: width and height of the picture.
      unit: pixels for a pixel of the design.
      stage: the upper part.
      shape: a square around the shape.
      lattice: rectangles of the levels of codes, the coarsest first.
      mel: the mel spectrogram.
      ticks: the strip with the numbers of the bars under it.
      text: the line with the title; the others are placed from it.
      page_seconds: time that the mel spectrogram shows, about.
    """

    size: tuple[int, int]
    unit: float
    stage: Rect
    shape: Rect
    lattice: tuple[Rect, ...]
    mel: Rect
    ticks: Rect
    text: Rect
    page_seconds: float


def find_size(form: str, height: int | None) -> tuple[int, int]:
    """Returns the width and the height of a form, both even.

    Args:
      height: None: the usual one.

    Raises:
      ValueError: the height is odd or out of range.
    """
    width, usual = FORMS[form].size
    if height is None:
        return width, usual
    scaled = max(even(width * height / usual), 2)
    sides = sorted((height, scaled))
    if height % 2 or sides[0] < SMALLEST or sides[1] > LARGEST:
        raise ValueError(
            f"--height={height} must be an even number of pixels, so that both sides of the "
            f"{form} form are {SMALLEST} to {LARGEST}; such as {usual}"
        )
    return scaled, height


def make_layout(form: str, size: tuple[int, int], num_levels: int) -> Layout:
    """Places the parts of a form in a picture.

    Args:
      num_levels: levels of codes to draw; without any the mel spectrogram is larger.
    """
    design, (width, height) = FORMS[form], size
    unit = height / design.size[1]
    margin, gap = even(_MARGIN * unit), max(even(_GAP * unit), 2)
    inner = width - 2 * margin
    top, bottom = (even(value * unit) for value in design.panels)
    level_height, level_gap = even(_LEVEL_HEIGHT * unit), max(even(gap / 3), 2)
    lattice = tuple(
        Rect(margin, top + row * (level_height + level_gap), inner, level_height)
        for row in range(num_levels)
    )
    mel_top = lattice[-1].y + level_height + gap if lattice else top
    x, y, radius = (value * unit for value in design.shape)
    side = even(2 * radius)
    return Layout(
        size=size,
        unit=unit,
        stage=Rect(0, 0, width, even(design.stage * unit)),
        shape=Rect(even(x - radius), even(y - radius), side, side),
        lattice=lattice,
        mel=Rect(margin, mel_top, inner, bottom - mel_top),
        ticks=Rect(margin, bottom, inner, min(even(36 * unit), height - bottom)),
        text=Rect(margin, even(52 * unit), inner, even(96 * unit)),
        page_seconds=design.page_seconds,
    )


def even(value: float) -> int:
    """Rounds to an even number."""
    return 2 * round(value / 2)
