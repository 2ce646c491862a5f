"""What there is to prepare: the sound files of a folder or a bucket, or the house corpus."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jukejax.data import audio
from jukejax.preparation import places, tracks


def find(folder: str | os.PathLike) -> tuple[list[tracks.Source], dict[str, int]]:
    """All sound files under a folder in alphabetical order, and how many other files by suffix."""
    found, ignored = [], Counter()
    for name, path in _files_of_bucket(folder) if places.is_remote(folder) else _files(folder):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in audio.EXTENSIONS:
            found.append(tracks.Source(name, path=path))
        else:
            ignored[suffix or "(none)"] += 1
    return sorted(found, key=lambda source: source.name), dict(sorted(ignored.items()))


def _files(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Name within the folder and path of each file that is not hidden."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"--input={folder} is not a folder; give a folder of music, or 'house'")
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                path = Path(root, name)
                shown = path.relative_to(folder).as_posix()
                yield shown.encode("utf-8", "backslashreplace").decode(), str(path)


def _files_of_bucket(folder: str) -> Iterator[tuple[str, str]]:
    places.check(folder, "input")
    for name in places.find(folder):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, places.join(folder, name)


def house(count: int, seconds: float, seed: int) -> list[tracks.Source]:
    """The embedded corpus as sources."""
    if count < 1 or seconds <= 0:
        raise ValueError(
            f"--house_tracks={count} and --house_seconds={seconds} must both be above 0"
        )
    return [
        tracks.Source(f"house_{i:04d}", index=i, seconds=seconds, seed=seed) for i in range(count)
    ]
