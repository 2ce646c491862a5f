"""Sets of sounds to measure: a folder of files, generated tracks, or a prepared corpus."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.data import audio, corpus
from jukejax.pages import runs
from jukejax.preparation import sources


@dataclass(frozen=True)
class Entry:
    """A sound, read on demand.

    Attributes:
      name: for tables and messages.
      read: returns float32 [time, channels] at 44.1 kHz, without the user's prompt.
    """

    name: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class SoundSet:
    """Sounds of one origin.

    Attributes:
      path: of the folder or file.
      kind: "samples" (of `sample`), "corpus" (of `prepare`) or "files".
      entries: in order of their names.
    """

    path: Path
    kind: str
    entries: tuple[Entry, ...]


def open_set(path: str | Path, flag: str, *, limit: int = 0, split: str = "heldout") -> SoundSet:
    """Opens the sounds at a path; of generated tracks the finest level.

    Args:
      flag: flag of the path, for messages.
      limit: largest number of sounds, spread evenly; 0: all.
      split: of a prepared corpus, "train", "heldout" (or the other if it is empty) or "all".

    Raises:
      ValueError: there is no sound at the path.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"--{flag}={path} does not exist")
    if (path / "dataset.json").exists():
        kind, entries = "corpus", _list_corpus_tracks(path, flag, split)
    elif path.is_dir() and any(path.glob("item_*/meta.json")):
        kind, entries = "samples", _list_samples(path)
    elif path.is_dir():
        kind, entries = "files", _list_files(path)
    else:
        kind, entries = "files", [_make_file_entry(path.name, path)]
    if not entries:
        raise ValueError(
            f"--{flag}={path} holds no sound; give a folder of sound files, of generated tracks, "
            "or the output of prepare"
        )
    if limit and len(entries) > limit:
        entries = [entries[i * len(entries) // limit] for i in range(limit)]
    return SoundSet(path, kind, tuple(_number_duplicates(entries)))


def _number_duplicates(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yields the entries; appends a number to names that occurred before."""
    occurrences: Counter[str] = Counter()
    for entry in entries:
        occurrences[entry.name] += 1
        count = occurrences[entry.name]
        yield entry if count == 1 else dataclasses.replace(entry, name=f"{entry.name} ({count})")


def _list_files(folder: Path) -> list[Entry]:
    listing = sources.find_files(folder)
    return [_make_file_entry(source.name, Path(source.path)) for source in listing.sources]


def _make_file_entry(name: str, path: Path) -> Entry:
    return Entry(name, functools.partial(_read_file, path))


def _read_file(path: Path, *, repair: bool = True) -> np.ndarray:
    try:
        return audio.load_audio(path, repair=repair).samples
    except ValueError as error:
        raise ValueError(f"{path}: {error}; remove it from the folder") from error


def _list_corpus_tracks(path: Path, flag: str, split: str) -> list[Entry]:
    dataset = corpus.open_dataset(path)
    if dataset.kind != "audio":
        raise ValueError(
            f"--{flag}={path} holds {dataset.kind}, not audio; give the output of prepare (codes "
            "are for --codes)"
        )
    splits = corpus.SPLITS if split == "all" else (split,)
    if not any(map(dataset.tracks, splits)):
        splits = corpus.SPLITS
    return [
        Entry(track.name, functools.partial(dataset.read_track, name, index))
        for name in splits
        for index, track in enumerate(dataset.tracks(name))
    ]


def _list_samples(path: Path) -> list[Entry]:
    """Lists the finest WAV file of each item, read from the end of the prompt on."""
    return [
        Entry(item.folder.name, functools.partial(_read_after_prompt, item))
        for item in runs.read_items(path)
        if item.wavs
    ]


def _read_after_prompt(item: runs.Item) -> np.ndarray:
    prompt_seconds = runs.parse_number(item.meta.get("prompt_seconds")) or 0.0
    sound = _read_file(next(iter(item.wavs.values())), repair=False)  # a model's own faults
    return sound[round(prompt_seconds * audio.SAMPLE_RATE) :]


def crop_middle(sound: np.ndarray, seconds: float) -> np.ndarray:
    """Returns at most `seconds` from the middle of a sound [time, channels]; 0: all of it."""
    size = round(seconds * audio.SAMPLE_RATE)
    if not size or len(sound) <= size:
        return sound
    start = (len(sound) - size) // 2
    return sound[start : start + size]
