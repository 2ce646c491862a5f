"""The sounds to audit: a file, a folder of files, or a folder of `sample`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.json_values import parse_number
from jukejax.data import audio
from jukejax.data.audio import Recording
from jukejax.data.codes_file import read_codes_file
from jukejax.data.sample_items import read_items
from jukejax.preparation.sources import find_files
from jukejax.sampling.folder import read_codec_identity


@dataclass(frozen=True)
class Sound:
    """One sound to audit.

    Attributes:
      name: in the report.
      wav: the audio of the finest existing level, or a recording; None if there are only codes.
      codes: a codes.npz; None if there is only audio.
      prompt_seconds: length of the user's prompt at its start.
      given: description of other content from the user; "" without.
    """

    name: str
    wav: Path | Recording | None
    codes: Path | None = None
    prompt_seconds: float = 0.0
    given: str = ""

    @contextlib.contextmanager
    def open_audio(self) -> Iterator[audio.Samples | None]:
        """Opens the audio at 44.1 kHz, as a context manager; None without a sound."""
        if self.wav is None:
            yield None
            return
        with contextlib.ExitStack() as stack:
            try:
                sound = stack.enter_context(audio.open_audio(self.wav))
            except ValueError as error:
                raise ValueError(f"--input: {self.wav} cannot be used: {error}") from error
            yield sound

    def read_top_codes(self) -> np.ndarray | None:
        """Returns int32 [time] of the top level; None without codes."""
        return None if self.codes is None else read_codes_file(self.codes).get(2)

    def read_codec_identity(self) -> dict[str, str]:
        """Returns the identity of the VQ-VAE of the codes; {} if it is unknown."""
        return {} if self.codes is None else read_codec_identity(self.codes)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.wav, self.codes) if isinstance(path, Path)]


def find_sounds(path: str) -> list[Sound]:
    """Finds the sounds at `path`, in the order of their names.

    Raises:
      ValueError: there are none.
    """
    source = Path(path)
    files.check_regular(source)
    if source.is_file():
        return [Sound(source.stem, source)]
    if not source.is_dir():
        raise ValueError(f"--input={path} does not exist; name a sound file or a folder")
    items = [Path(item.folder) for item in read_items(source)]
    if (source / "codes.npz").exists():
        items = [source]
    if items:
        sounds = [sound for folder in items for sound in _open_item(folder)]
    else:
        sounds = [
            Sound(str(Path(file.name).with_suffix("")), Path(file.path))
            for file in find_files(source).sources
        ]
        for sound in sounds:
            for file in sound.files:
                files.check_regular(file)
    if not sounds:
        raise ValueError(f"--input={path} holds no sound file and no item of sample")
    return sounds


def _open_item(folder: Path) -> Iterator[Sound]:
    """Yields the sound of an item of a sample folder, if a level of it is finished."""
    meta = files.read_json_if_any(folder / "meta.json")
    wavs = [folder / f"level_{level}.wav" for level in (0, 1, 2)]
    wav = next((path for path in wavs if path.exists()), None)
    codes = folder / "codes.npz"
    given = ""
    if meta.get("mode") == "upsample":
        given = "its sketch (level 2) was given: what is found may be that of the user's own music"
    elif meta.get("mode") == "reroll" and meta.get("reroll"):
        given = "only {} to {} s were generated; the rest was given".format(*meta["reroll"])
    if wav or codes.exists():
        yield Sound(
            folder.name,
            wav,
            codes if codes.exists() else None,
            parse_number(meta.get("prompt_seconds")) or 0.0,
            given,
        )
