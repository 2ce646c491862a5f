"""Still images behind the text and the shape: a slow zoom, changes on bars, a pulse with kicks."""

import concurrent.futures
import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jukejax.common import files
from jukejax.filming import style
from jukejax.filming.layout import Layout
from jukejax.filming.planes import Picture, convert_image
from jukejax.filming.timeline import Timeline

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_MOST_PIXELS = 100_000_000
_ZOOM, _PULSE = 0.14, 0.02  # share by which an image grows while it is shown, and with a kick
_SECONDS = 8.0  # of an image without a grid
_BRIGHTNESS, _SHADE = 0.62, 0.55  # of the images, and of their upper edge below the text


def find_images(path: str) -> list[Path]:
    """Lists the images of a file or a folder, by name, and checks that they can be read.

    Raises:
      ValueError: there is none, or one is damaged or too large.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"--image={path} does not exist")
    paths = [place]
    if place.is_dir():
        entries = sorted(entry for entry in place.iterdir() if not entry.name.startswith("."))
        paths = [entry for entry in entries if entry.suffix.lower() in _EXTENSIONS]
    if not paths:
        raise ValueError(f"--image={path} holds no images; give some as {', '.join(FORMATS)}")
    for image in paths:
        _load_image(image).close()
    return paths


def _load_image(path: Path) -> "Image.Image":
    """Reads an image as RGB.

    Raises:
      ValueError: it is damaged, too large or in another format.
    """
    from PIL import Image, ImageOps

    files.check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and odd metadata
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(
                        f"it has {image.width} x {image.height} pixels; at most "
                        f"{_MOST_PIXELS // 1_000_000} million are read"
                    )
                if min(image.size) < 1:
                    raise ValueError("it has no pixels")
                upright = ImageOps.exif_transpose(image).convert("RGBA")
        base = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        return Image.alpha_composite(base, upright).convert("RGB")
    except Exception as error:  # Pillow raises errors of many types for damaged files
        reason = "in no known format" if "cannot identify" in str(error) else str(error)
        raise ValueError(
            f"--image: {path} cannot be read as an image ({reason}); give it as "
            f"{', '.join(FORMATS)}"
        ) from error


class MovingImages:
    """Draws the images over the stage.

    An image is shown for a number of bars and then replaced, at once or by a cross-fade of one
    beat; the first follows the last. While it is shown it grows slowly, at every other one it
    shrinks; a kick makes it larger for a moment.
    """

    def __init__(
        self, paths: Sequence[Path], timeline: Timeline, layout: Layout, *, bars: int, fades: bool
    ):
        """Prepares the images.

        Args:
          bars: of an image.
          fades: cross-fade instead of a cut.
        """
        self._paths, self._size = paths, (layout.stage.width, layout.stage.height)
        self._stage, self._timeline = layout.stage, timeline
        if timeline.beats is not None and timeline.beat_seconds is not None:
            turns, beat = timeline.beats / (4 * bars), timeline.beat_seconds
            turn_seconds = 4 * bars * beat
        else:
            turns, beat, turn_seconds = timeline.times / _SECONDS, 0.5, _SECONDS
        self._turns = turns - min(np.floor(turns[0]), 0)  # the first image is number 0
        self._fade = beat / turn_seconds if fades else 0.0
        self._shade = _make_shade(layout)
        # The planes of the next frame are made in a second thread, as they take as long as all
        # other parts of a frame together.
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._next: tuple[int, concurrent.futures.Future[list[np.ndarray]] | None] = (0, None)

    def draw(self, canvas: Picture, frame: int) -> None:
        """Draws a frame."""
        number, planes = self._next
        luma, u, v = planes.result() if planes and number == frame else self._make_planes(frame)
        if frame + 1 < len(self._timeline):
            self._next = frame + 1, self._pool.submit(self._make_planes, frame + 1)
        stage = canvas.crop(self._stage)
        black = style.BACKGROUND[0]
        stage.y[...] = ((luma.astype(np.int16) - black) * self._shade >> 7) + black
        stage.u[...] = ((u.astype(np.int16) - 128) * self._shade[::2] >> 7) + 128
        stage.v[...] = ((v.astype(np.int16) - 128) * self._shade[::2] >> 7) + 128

    def _make_planes(self, frame: int) -> list[np.ndarray]:
        """Returns the planes of a frame, before they are darkened."""
        turn = float(self._turns[frame])
        number, place = int(turn), turn % 1.0
        planes = self._zoom(number, place, frame)
        if number and place < self._fade:
            before = self._zoom(number - 1, 1.0 + place, frame)
            share = round(256 * place / self._fade)
            planes = [_cross(old, new, share) for old, new in zip(before, planes, strict=True)]
        return planes

    def _zoom(self, number: int, place: float, frame: int) -> list[np.ndarray]:
        """Returns the planes of an image at a place of its turn, 0 to 1 and the fade after it."""
        share = place if number % 2 == 0 else 1.0 - place
        zoom = (1 + _ZOOM) ** -(share + 0.2) * (1 - _PULSE * float(self._timeline.kick[frame]))
        planes = _prepare_image(self._paths[number % len(self._paths)], self._size)
        result = []
        for plane, scale in zip(planes, (1, 2, 2), strict=True):
            width, height = plane.size
            box = (width * (1 - zoom) / 2, height * (1 - zoom) / 2)
            size = (self._size[0] // scale, self._size[1] // scale)
            corners = (*box, width - box[0], height - box[1])
            result.append(np.asarray(plane.resize(size, 2, box=corners)))  # 2: bilinear
        return result


@functools.lru_cache(maxsize=3)
def _prepare_image(path: Path, size: tuple[int, int]) -> "tuple[Image.Image, ...]":
    """Returns the planes of an image, cut to the stage.

    They are not larger than it: enlarging by a few percent costs less than reducing.
    """
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(_load_image(path), size, Image.Resampling.LANCZOS)
    return tuple(Image.fromarray(plane) for plane in convert_image(np.asarray(fitted)))


def _make_shade(layout: Layout) -> np.ndarray:
    """Returns the brightness of the images by row, 128: as they are, int16 [rows, 1]."""
    rows = np.arange(layout.stage.height)
    top = layout.text.y + layout.text.height
    rise = np.clip((rows - top / 2) / max(top, 1), 0, 1)
    fall = np.clip((layout.stage.height - rows) / max(0.08 * layout.stage.height, 1), 0, 1)
    share = (_SHADE + (1 - _SHADE) * rise) * _BRIGHTNESS * fall
    return np.rint(128 * share).astype(np.int16)[:, None]


def _cross(old: np.ndarray, new: np.ndarray, share: int) -> np.ndarray:
    """Mixes two planes; a share of 256 is the new one."""
    mixed = old.astype(np.uint16) * (256 - share) + new.astype(np.uint16) * share
    return (mixed >> 8).astype(np.uint8)
