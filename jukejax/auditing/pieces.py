"""What is audited: a sound file, a folder of them, or the folder that `sample` wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.data import audio
from jukejax.pages import runs
from jukejax.sampling.folder import read_codes


@dataclass(frozen=True)
class Sound:
    """One piece to audit.

    Attributes:
      name: as the report calls it.
      wav: the sound, as fine as there is one; None if only codes are there.
      codes: a codes.npz; None if only the sound is there.
      prompt_seconds: from its start, that the user gave.
      given: what else of it the user gave, in words.
    """

    name: str
    wav: Path | None
    codes: Path | None = None
    prompt_seconds: float = 0.0
    given: str = ""

    def mono(self) -> np.ndarray | None:
        """float32 [time] at 44.1 kHz."""
        if self.wav is None:
            return None
        try:
            return audio.load_audio(self.wav).mean(axis=1)
        except ValueError as error:
            raise ValueError(f"--input: {self.wav} cannot be used: {error}") from error

    def top_codes(self) -> np.ndarray | None:
        """int32 [time] of the top level."""
        return None if self.codes is None else read_codes(self.codes).get(2)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.wav, self.codes) if path is not None]


def find(path: str) -> list[Sound]:
    """The pieces in `path`, in the order of their names.

    Raises:
      ValueError: there are none.
    """
    place = Path(path)
    if place.is_file():
        return [Sound(place.stem, place)]
    if not place.is_dir():
        raise ValueError(f"--input={path} does not exist; name a sound file or a folder")
    items = [Path(item.folder) for item in runs.read_items(place)]
    if (place / "codes.npz").exists():
        items = [place]
    if items:
        sounds = [sound for folder in items for sound in _item(folder)]
    else:
        files = sorted(p for p in place.rglob("*") if p.suffix.lower() in audio.EXTENSIONS)
        sounds = [Sound(str(p.relative_to(place).with_suffix("")), p) for p in files]
    if not sounds:
        raise ValueError(f"--input={path} holds no sound file and no item of sample")
    return sounds


def _item(folder: Path) -> Iterator[Sound]:
    """An item of a sample folder, unless nothing of it is finished."""
    meta = files.read_json_if_any(folder / "meta.json")
    wavs = [folder / f"level_{level}.wav" for level in (0, 1, 2)]
    wav = next((path for path in wavs if path.exists()), None)
    codes = folder / "codes.npz"
    given = ""
    if meta.get("mode") == "upsample":
        given = "its sketch (level 2) was given: what is found may be that of the user's own music"
    elif meta.get("mode") == "reroll" and meta.get("reroll"):
        given = "only {} to {} s were made anew; the rest was given".format(*meta["reroll"])
    if wav or codes.exists():
        yield Sound(
            folder.name,
            wav,
            codes if codes.exists() else None,
            runs.parse_number(meta.get("prompt_seconds")) or 0.0,
            given,
        )
