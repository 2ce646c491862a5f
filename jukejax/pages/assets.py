"""Audio and picture files of a page, in folders with relative links."""

import os
import shutil
from pathlib import Path

from jukejax.common import files
from jukejax.data import decoding
from jukejax.pages import page, pictures


class Assets:
    """Collects the files of the page `root`/index.html; copies outside files to `root`/assets.

    Attributes:
      root: folder of the page, created if missing.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def add_file(self, source: Path, name: str) -> Path:
        """Returns the relative path of `source`, copied to assets/`name` if it is elsewhere."""
        if source.resolve().is_relative_to(self.root.resolve()):
            return source.resolve().relative_to(self.root.resolve())
        target = self.new_path(name)
        with files.replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        return target.relative_to(self.root)

    def new_path(self, name: str) -> Path:
        """Returns the path for a new file assets/`name` and creates its folder."""
        target = self.root / "assets" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def relative_path(self, path: Path) -> Path:
        """Returns a path below the page's folder, relative to it."""
        return path.relative_to(self.root)

    def add_sound(self, wav: Path, name: str, title: str, description: str) -> page.Html:
        """Returns a player of `wav` above its mel spectrogram, redrawn if `wav` is newer.

        Args:
          name: of the copy, without its suffix.
          title: of the picture.
          description: for the labels of player and picture.
        """
        try:
            samples, sample_rate = decoding.decode_file(wav)
        except ValueError as error:
            return page.note(f"{wav.name} cannot be played: {error}.")
        source = self.add_file(wav, f"{name}.wav")
        image = (self.root / source).with_suffix(".png")
        versions = (image, pictures.dark_path(image))
        drawn_at = [path.stat().st_mtime_ns for path in versions if path.exists()]
        if len(drawn_at) < 2 or min(drawn_at) <= (self.root / source).stat().st_mtime_ns:
            pictures.write_mel_picture(samples, image, title, sample_rate=sample_rate)
        alt = f"Mel spectrogram: {description}"
        return page.Html(
            page.player(source, description) + page.picture(self.relative_path(image), alt)
        )
