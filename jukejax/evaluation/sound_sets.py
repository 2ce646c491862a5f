"""Sets of sounds to be measured: a folder of files, generated tracks, or a prepared corpus."""

import dataclasses
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
    """A sound that is read when it is needed.

    Attributes:
      name: what people call it.
      read: gives float32 [time, channels] at 44.1 kHz, without the prompt that a user gave.
    """

    name: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class SoundSet:
    """Sounds of one origin.

    Attributes:
      path: where they are.
      kind: "samples" (of `sample`), "corpus" (of `prepare`) or "files".
      entries: in order of their names.
    """

    path: Path
    kind: str
    entries: tuple[Entry, ...]


def open_set(path: str | Path, flag: str, *, limit: int = 0, split: str = "heldout") -> SoundSet:
    """What there is to measure at a path; of generated tracks the finest level.

    Args:
      flag: that named the path, for messages.
      limit: at most so many, spread evenly; 0: all.
      split: of a prepared corpus, "train", "heldout" (or the other if it is empty) or "all".

    Raises:
      ValueError: nothing that can be measured is there.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"--{flag}={path} does not exist")
    if (path / "dataset.json").exists():
        kind, entries = "corpus", _of_corpus(path, flag, split)
    elif path.is_dir() and any(path.glob("item_*/meta.json")):
        kind, entries = "samples", _of_samples(path)
    elif path.is_dir():
        kind, entries = "files", [_of_file(item.name, Path(item.path)) for item in _files(path)]
    else:
        kind, entries = "files", [_of_file(path.name, path)]
    if not entries:
        raise ValueError(
            f"--{flag}={path} holds no sound; give a folder of sound files, of generated tracks, "
            "or the output of prepare"
        )
    if limit and len(entries) > limit:
        entries = [entries[i * len(entries) // limit] for i in range(limit)]
    return SoundSet(path, kind, tuple(_told_apart(entries)))


def _told_apart(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The same sounds, of equal names all but the first with a number."""
    seen: Counter[str] = Counter()
    for entry in entries:
        seen[entry.name] += 1
        count = seen[entry.name]
        yield entry if count == 1 else dataclasses.replace(entry, name=f"{entry.name} ({count})")


def _files(path: Path) -> list:
    return sources.find_files(path)[0]


def _of_file(name: str, path: Path) -> Entry:
    def read() -> np.ndarray:
        try:
            return audio.load_audio(path)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; take it out of the folder") from error

    return Entry(name, read)


def _of_corpus(path: Path, flag: str, split: str) -> list[Entry]:
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
        Entry(track.name, lambda name=name, i=i: dataset.read_track(name, i))
        for name in splits
        for i, track in enumerate(dataset.tracks(name))
    ]


def _of_samples(path: Path) -> list[Entry]:
    """The finest WAV of each item that has one, from where the prompt ends."""

    def entry(item: runs.Item) -> Entry:
        whole = _of_file(item.folder.name, next(iter(item.wavs.values())))
        given = round(
            (runs.parse_number(item.meta.get("prompt_seconds")) or 0.0) * audio.SAMPLE_RATE
        )
        return Entry(whole.name, lambda: whole.read()[given:])

    return [entry(item) for item in runs.read_items(path) if item.wavs]


def middle(sound: np.ndarray, seconds: float) -> np.ndarray:
    """At most so many seconds from the middle of a sound [time, channels]; 0: all of it."""
    size = round(seconds * audio.SAMPLE_RATE)
    if not size or len(sound) <= size:
        return sound
    start = (len(sound) - size) // 2
    return sound[start : start + size]
