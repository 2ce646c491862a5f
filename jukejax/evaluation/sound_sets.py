"""Sets of sounds to measure: a folder of files, generated tracks, or a prepared corpus."""

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common.config import freeze
from jukejax.common.json_values import parse_number
from jukejax.data import audio, corpus
from jukejax.data.grid import Grid
from jukejax.data.sample_items import Item, read_items
from jukejax.preparation import sources

LONGEST = 10 * 60  # seconds of a track in memory, from its middle


@dataclass(frozen=True)
class Entry:
    """A sound, read on demand.

    Attributes:
      name: for tables and messages.
      open: a context manager of float32 [time, channels] at 44.1 kHz, without the user's prompt.
      grid: that was asked for, from the start of the sound; of generated tracks.
      is_loop: of generated tracks.
    """

    name: str
    open: Callable[[], AbstractContextManager[audio.Samples]]
    grid: Grid = dataclasses.field(default_factory=Grid)
    is_loop: bool = False

    def read(self, seconds: float = 0.0) -> np.ndarray:
        """Returns at most `seconds` from the middle, float32 [time, channels]; 0: `LONGEST`."""
        with self.open() as sound:
            return sound[find_middle(len(sound), seconds or LONGEST)]


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
    return Entry(name, functools.partial(_open_file, path))


@contextlib.contextmanager
def _open_file(path: Path, *, repair: bool = True) -> Iterator[audio.Samples]:
    with contextlib.ExitStack() as stack:
        try:
            sound = stack.enter_context(audio.open_audio(path, repair=repair))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; remove it from the folder") from error
        yield sound


def _list_corpus_tracks(path: Path, flag: str, split: str) -> list[Entry]:
    dataset = corpus.open_dataset(path)
    if dataset.kind != "audio":
        raise ValueError(
            f"--{flag}={path} holds {dataset.kind}, not audio; give the output of prepare (codes "
            "are for --codes)"
        )
    dataset.check_rate(audio.SAMPLE_RATE)
    splits = corpus.SPLITS if split == "all" else (split,)
    if not any(map(dataset.tracks, splits)):
        splits = corpus.SPLITS
    return [
        Entry(track.name, functools.partial(_open_corpus_track, dataset, name, index))
        for name in splits
        for index, track in enumerate(dataset.tracks(name))
    ]


@contextlib.contextmanager
def _open_corpus_track(dataset: corpus.Dataset, split: str, index: int) -> Iterator[audio.Samples]:
    yield dataset.read_track(split, index)


def _list_samples(path: Path) -> list[Entry]:
    """Lists the finest WAV file of each item, read from the end of the prompt on."""
    return [
        Entry(
            item.folder.name,
            functools.partial(_open_after_prompt, item),
            grid=_read_item_grid(item),
            is_loop=item.meta.get("loop") is True,
        )
        for item in read_items(path)
        if item.wavs
    ]


def _read_item_grid(item: Item) -> Grid:
    values, prompt_seconds = item.meta.get("grid"), item.meta.get("prompt_seconds")
    if not isinstance(values, dict):
        return Grid()
    grid = freeze(Grid, values, f"{item.folder}/meta.json.grid")
    rate = parse_number(item.meta.get("sample_rate")) or audio.SAMPLE_RATE
    grid = grid.scale(audio.SAMPLE_RATE / rate)
    return grid.shift((parse_number(prompt_seconds) or 0.0) * audio.SAMPLE_RATE)


@contextlib.contextmanager
def _open_after_prompt(item: Item) -> Iterator[audio.Samples]:
    prompt_seconds = parse_number(item.meta.get("prompt_seconds")) or 0.0
    path = next(iter(item.wavs.values()))
    with _open_file(path, repair=False) as sound:  # a model's own faults are measured
        yield sound[round(prompt_seconds * audio.SAMPLE_RATE) :]


def find_middle(samples: int, seconds: float) -> slice:
    """Returns the section of at most `seconds` in the middle of a sound; 0: all of it."""
    size = round(seconds * audio.SAMPLE_RATE)
    if not size or samples <= size:
        return slice(0, samples)
    start = (samples - size) // 2
    return slice(start, start + size)
