"""Sources: the sound files of a folder or a bucket, or the tracks of the house corpus."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jukejax.data import audio
from jukejax.preparation import storage
from jukejax.preparation.tracks import Source


def find_files(folder: str | os.PathLike) -> tuple[list[Source], dict[str, int]]:
    """Finds the sound files under a folder or a bucket.

    Returns:
      The sources in alphabetical order, and the number of other files by suffix.
    """
    sources: list[Source] = []
    ignored: Counter[str] = Counter()
    for name, path in _list_bucket(folder) if storage.is_remote(folder) else _list_folder(folder):
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in audio.EXTENSIONS:
            sources.append(Source(name, path=path))
        else:
            ignored[suffix or "(none)"] += 1
    return sorted(sources, key=lambda source: source.name), dict(sorted(ignored.items()))


def _list_folder(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Yields the name within the folder and the path of each file that is not hidden."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"--input={folder} is not a folder; give a folder of music, or 'house'")
    for root, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                path = Path(root, name)
                relative = path.relative_to(folder).as_posix()
                yield relative.encode("utf-8", "backslashreplace").decode(), str(path)


def _list_bucket(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Yields the name within the folder and the path of each file that is not hidden."""
    folder = os.fspath(folder)
    storage.check_reachable(folder, "input")
    for name in storage.list_files(folder):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, storage.join_path(folder, name)


def list_house_tracks(count: int, seconds: float, seed: int) -> list[Source]:
    """Lists the tracks of the house corpus."""
    if count < 1 or seconds <= 0:
        raise ValueError(
            f"--house_tracks={count} and --house_seconds={seconds} must both be above 0"
        )
    return [Source(f"house_{i:04d}", index=i, seconds=seconds, seed=seed) for i in range(count)]
