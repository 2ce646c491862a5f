"""The files of a page: sounds and pictures in a place that the page reaches by a relative link."""

import os
import shutil
from pathlib import Path

from jukejax.common import files
from jukejax.data import audio
from jukejax.pages import page, pictures


class Assets:
    """Files of the page `root`/index.html; what lies outside `root` is copied to `root`/assets."""

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def take(self, source: Path, name: str) -> Path:
        """The path of `source` as the page calls it; copied to assets/`name` if from elsewhere."""
        if source.resolve().is_relative_to(self.root.resolve()):
            return source.resolve().relative_to(self.root.resolve())
        target = self.new(name)
        with files.replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        return target.relative_to(self.root)

    def new(self, name: str) -> Path:
        """Where to write the file assets/`name`."""
        target = self.root / "assets" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def link(self, path: Path) -> Path:
        """`path`, which lies under the page's folder, as the page calls it."""
        return path.relative_to(self.root)

    def sound(self, wav: Path, name: str, title: str, what: str) -> page.Html:
        """A player of `wav` over its mel picture; `what` says in words what one hears."""
        try:
            samples, sample_rate = audio.decode(wav)
        except ValueError as error:
            return page.note(f"{wav.name} cannot be played: {error}.")
        source = self.take(wav, f"{name}.wav")
        image = (self.root / source).with_suffix(".png")
        dark = pictures.dark_twin(image)
        drawn = [path.stat().st_mtime_ns for path in (image, dark) if path.exists()]
        if len(drawn) < 2 or min(drawn) <= (self.root / source).stat().st_mtime_ns:
            pictures.mel_picture(samples, image, title, sample_rate=sample_rate)
        return page.Html(
            page.player(source, what) + page.picture(self.link(image), f"Mel spectrogram: {what}")
        )
