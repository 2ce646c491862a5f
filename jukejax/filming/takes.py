"""The input of a video: a generated track with its codes and its grid, or any sound file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.common.json_values import join_text, parse_number
from jukejax.data import decoding
from jukejax.data.audio import SAMPLE_RATE
from jukejax.data.codes_file import read_codes_file
from jukejax.data.grid import Grid
from jukejax.data.sample_items import Item, read_items
from jukejax.filming.lattice import Codes
from jukejax.sampling.folder import read_grid
from jukejax.weights import bundle
from jukejax.weights.shipped import FOLDER, HOUSE

_LEVEL_SOUND = re.compile(r"level_(\d+)\.wav")
_DEFAULT_HOPS = (8, 32, 128)


@dataclass(frozen=True)
class Take:
    """Holds what is known about a track.

    Attributes:
      sound: its file.
      title, subtitle: as found in the labels or the tags.
      grid: at `SAMPLE_RATE`, the rate at which the sound is read.
      codes: of the levels that are known.
      has_item: true for generated tracks.
    """

    sound: Path
    title: str
    subtitle: str
    grid: Grid = field(default_factory=Grid)
    codes: Codes = field(default_factory=lambda: Codes({}, {}))
    has_item: bool = False


def open_take(path: str, item: int | None) -> Take:
    """Finds the track of a sample folder, of one of its items, or of a sound file.

    A level_K.wav of an item is the item with this sound.

    Args:
      item: number of the item of a sample folder, as in the name of its folder; None: the first.

    Raises:
      ValueError: there is no track, or its files are damaged.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"--input={path} does not exist")
    if place.is_dir():
        folder = _find_item(place, item)
        return _read_item(folder, _find_sound(folder))
    if item is not None:
        raise ValueError(f"--item={item} is for a sample folder, and --input={path} is a file")
    if _LEVEL_SOUND.fullmatch(place.name) and (place.parent / "meta.json").is_file():
        return _read_item(place.parent, place)
    return _read_sound(place)


def _find_item(folder: Path, item: int | None) -> Path:
    """Returns the folder of the item."""
    if any(folder.glob("level_*.wav")):
        return folder
    items = [entry for entry in read_items(folder) if entry.wavs]
    if not items:
        raise ValueError(
            f"--input={folder} holds no tracks of sample (item_000/level_0.wav); give a folder "
            "that sample wrote, or one sound file"
        )
    if item is None:
        return items[0].folder
    for entry in items:
        if entry.folder.name == f"item_{item:03d}":
            return entry.folder
    names = ", ".join(entry.folder.name for entry in items)
    raise ValueError(f"--item={item} has no sound in {folder}, which holds {names}")


def _find_sound(folder: Path) -> Path:
    """Returns the WAV file of the finest level of an item."""
    meta = files.read_json_if_any(folder / "meta.json")
    sounds = Item(folder, meta, number=1, name=folder.name).wavs
    if not sounds:
        raise ValueError(f"--input={folder} holds no level_0.wav")
    return next(iter(sounds.values()))


def _read_item(folder: Path, sound: Path) -> Take:
    meta = files.read_json(folder / "meta.json")
    rate = parse_number(meta.get("sample_rate")) or SAMPLE_RATE
    hops = _read_hops(meta, folder)
    levels = read_codes_file(folder / "codes.npz") if (folder / "codes.npz").exists() else {}
    levels = {level: codes for level, codes in levels.items() if len(codes) and level < len(hops)}
    grid = read_grid(folder / "codes.npz").scale(SAMPLE_RATE / rate)
    artist, genre = (join_text(meta.get(name)) for name in ("artist", "genre"))
    title = artist or f"{folder.resolve().parent.name} / {folder.name}"
    seed = meta.get("seed")
    notes = [genre, _name_model(meta), "" if seed is None else f"seed {seed}"]
    return Take(
        sound,
        title,
        " · ".join(filter(None, notes)),
        grid,
        Codes(levels, {level: rate / hops[level] for level in levels}),
        has_item=True,
    )


def _read_hops(meta: Mapping[str, Any], folder: Path) -> list[float]:
    """Returns the samples of a code of each level, from the finest.

    Raises:
      ValueError: they are no positive numbers.
    """
    hops = meta.get("hops") or _DEFAULT_HOPS
    numbers = [parse_number(hop) for hop in hops] if isinstance(hops, list | tuple) else []
    if not numbers or not all(number is not None and number >= 1 for number in numbers):
        raise ValueError(f"{folder / 'meta.json'} is damaged: hops={hops!r}")
    return [number for number in numbers if number is not None]


def _name_model(meta: Mapping[str, Any]) -> str:
    """Returns the name of the shipped model if it made the track, else the start of the hash."""
    made_by = join_text(meta.get("model"))
    if not made_by:
        return ""
    is_shipped = (FOLDER / "model.json").exists() and bundle.hash_bundle(FOLDER) == made_by
    return f"model {HOUSE if is_shipped else made_by[:8]}"


def _read_sound(path: Path) -> Take:
    try:
        with decoding.open_sound(path) as sound:
            tags = sound.tags
    except ValueError as error:
        raise ValueError(f"--input={path}: {error}") from error
    return Take(path, tags.get("title") or path.stem, tags.get("artist", ""))
