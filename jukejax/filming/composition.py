"""All parts of a frame in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.filming import style
from jukejax.filming.captions import BeatMarks, Captions, Text
from jukejax.filming.images import MovingImages
from jukejax.filming.lattice import Codes, Lattice
from jukejax.filming.layout import Layout
from jukejax.filming.lettering import Lettering
from jukejax.filming.mel_panel import MelPanel
from jukejax.filming.planes import Picture, make_picture
from jukejax.filming.shape import SpectrumShape
from jukejax.filming.timeline import Timeline


@dataclass(frozen=True)
class ImageOptions:
    """The images of a video.

    Attributes:
      paths: of the files, at least one.
      bars: for which each is shown.
      fades: cross-fades instead of cuts.
    """

    paths: Sequence[Path]
    bars: int = 2
    fades: bool = True


class Composition:
    """Draws the frames of a video, in order, each over the one before it."""

    def __init__(
        self,
        timeline: Timeline,
        layout: Layout,
        lettering: Lettering,
        text: Text,
        *,
        codes: Codes,
        images: ImageOptions | None = None,
    ):
        self._layout = layout
        self._canvas = make_picture(*layout.size, style.BACKGROUND)
        self.captions = Captions(timeline, layout, lettering, text)
        self.marks = BeatMarks(timeline, layout, lettering)
        self.mel = MelPanel(timeline, layout, lettering)
        self._lattice = Lattice(timeline, layout, codes)
        self._shape = SpectrumShape(timeline, layout)
        self._images = None
        if images is not None:
            self._images = MovingImages(
                images.paths, timeline, layout, bars=images.bars, fades=images.fades
            )

    def draw(self, frame: int) -> Picture:
        """Draws a frame; the picture is valid until the next one is drawn."""
        if self._images is None:
            self._canvas.crop(self._layout.stage).fill(style.BACKGROUND)
        else:
            self._images.draw(self._canvas, frame)
        for layer in (self._shape, self.marks, self.captions, self._lattice, self.mel):
            layer.draw(self._canvas, frame)
        return self._canvas
