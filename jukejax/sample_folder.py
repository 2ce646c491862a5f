"""The folder of `sample`: an item a folder, written window by window so that a kill loses little.

OUTPUT/settings.json                     what the tracks depend on
OUTPUT/item_000/codes.npz                level_2, level_1, level_0: uint16 [time] so far
OUTPUT/item_000/level_2.wav ...          each finished level, decoded
OUTPUT/item_000/meta.json                labels, settings, timings, gain
OUTPUT/index.html                        players and pictures
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from jukejax.data import audio
from jukejax.weights import bundle

Codes = dict[int, np.ndarray]


def read_codes(path: str | Path) -> Codes:
    """{level: int32 [t]} of a codes.npz.

    Raises:
      ValueError: the file is missing or no codes.npz.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                int(name.removeprefix("level_")): file[name].astype(np.int32) for name in file.files
            }
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read as the codes.npz of a sample: {error}") from error


def claim(output: Path, settings: dict) -> None:
    """Begins a sample folder, or goes on with one that was begun with the same settings.

    Raises:
      ValueError: the folder was begun with others.
    """
    path = output / "settings.json"
    if path.exists():
        before = bundle.read_json(path)
        for name, value in settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{output} was begun with {name}={before.get(name)}, not {value}; take another "
                    "--output"
                )
    output.mkdir(parents=True, exist_ok=True)
    bundle.write_json(path, settings)


class SampleFolder:
    """The items of one sample folder.

    Attributes:
      items: their folders.
    """

    def __init__(self, output: Path, count: int):
        self.items = [output / f"item_{number:03d}" for number in range(count)]
        for item in self.items:
            item.mkdir(exist_ok=True)

    def load(self) -> Codes:
        """{level: int32 [B, t]}: what every item has already."""
        found = [
            read_codes(item / "codes.npz") if (item / "codes.npz").exists() else {}
            for item in self.items
        ]
        levels = set.intersection(*(set(codes) for codes in found))
        shortest = {level: min(len(codes[level]) for codes in found) for level in levels}
        return {
            level: np.stack([codes[level][: shortest[level]] for codes in found])
            for level in levels
        }

    def save(self, codes: Codes) -> None:
        """Writes each item's codes {level: [B, t]}, atomically."""
        for row, item in enumerate(self.items):
            temporary = item / "codes.tmp.npz"
            arrays = {f"level_{k}": v[row].astype(np.uint16) for k, v in sorted(codes.items())}
            np.savez(temporary, **arrays)
            temporary.replace(item / "codes.npz")

    def meta(self, row: int) -> dict:
        """What is known of an item so far."""
        path = self.items[row] / "meta.json"
        return bundle.read_json(path) if path.exists() else {"timings": {}, "gain": {}}

    def write_meta(self, row: int, **values) -> None:
        """Adds to what is known of an item."""
        bundle.write_json(self.items[row] / "meta.json", self.meta(row) | values)

    def has_audio(self, level: int) -> bool:
        """Whether every item has this level's WAV."""
        return all((item / f"level_{level}.wav").exists() for item in self.items)

    def write_audio(
        self, row: int, level: int, sound: np.ndarray, sample_rate: int, seconds: float
    ) -> None:
        """Writes one level's WAV; `seconds` is what it took to make it, for meta.json."""
        gain = audio.write_wav(self.items[row] / f"level_{level}.wav", sound, sample_rate)
        meta = self.meta(row)
        meta["timings"][f"level_{level}"] = round(seconds, 3)
        meta["gain"][f"level_{level}"] = gain
        made = sum(meta["timings"].values())
        meta["seconds_per_second_of_audio"] = round(made / meta["seconds"] / len(self.items), 3)
        self.write_meta(row, **meta)
