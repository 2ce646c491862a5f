"""Sources: the sound files of a folder or a bucket, or the tracks of the house corpus."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jukejax.common import storage
from jukejax.data import decoding
from jukejax.preparation.lyrics_source import SUFFIXES
from jukejax.preparation.prepared_track import Source


@dataclass(frozen=True)
class FoundFiles:
    """The files of a folder.

    Attributes:
      sources: sound files in alphabetical order.
      lyrics: paths of files of lyrics beside the sounds, by the name of the source.
      ignored: number of other files, by suffix.
      unreadable: folders that cannot be read, with the reason.
    """

    sources: list[Source]
    lyrics: dict[str, str]
    ignored: dict[str, int]
    unreadable: list[str]


def find_files(folder: str | os.PathLike) -> FoundFiles:
    """Finds the sound files under a folder or a bucket, and files of lyrics beside them.

    Links to files and folders are followed; each folder is read once.
    """
    sources: list[Source] = []
    others: list[tuple[str, str]] = []
    unreadable: list[str] = []
    names = _list_bucket(folder) if storage.is_remote(folder) else _list_folder(folder, unreadable)
    for name, path in names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in decoding.EXTENSIONS:
            sources.append(Source(name, path=path))
        else:
            others.append((name, path))
    sources.sort(key=lambda source: source.name)
    lyrics = _match_lyrics(sources, dict(others))
    used = set(lyrics.values())
    ignored = Counter(
        PurePosixPath(name).suffix.lower() or "(none)" for name, path in others if path not in used
    )
    return FoundFiles(sources, lyrics, dict(sorted(ignored.items())), unreadable)


def _match_lyrics(sources: list[Source], others: dict[str, str]) -> dict[str, str]:
    """Returns the paths of files of lyrics with the name of a sound, by the name of the source."""
    by_name = {name.lower(): path for name, path in others.items()}
    lyrics = {}
    for source in sources:
        stem = source.name[: -len(PurePosixPath(source.name).suffix)].lower()
        paths = [by_name[stem + suffix] for suffix in SUFFIXES if stem + suffix in by_name]
        if paths:
            lyrics[source.name] = paths[0]
    return lyrics


def _list_folder(folder: str | os.PathLike, unreadable: list[str]) -> Iterator[tuple[str, str]]:
    """Yields the name within the folder and the path of each file that is not hidden."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"--input={folder} is not a folder; give a folder of music, or 'house'")

    def add_error(error: OSError) -> None:
        unreadable.append(f"{_printable(error.filename)} ({error.strerror})")

    seen: set[tuple[int, int]] = set()
    for root, subfolders, names in os.walk(folder, followlinks=True, onerror=add_error):
        state = os.stat(root)
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                path = Path(root, name)
                yield _printable(path.relative_to(folder).as_posix()), str(path)


def _printable(path: str) -> str:
    """Returns a path with escapes for bytes that are not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def _list_bucket(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Yields the name within the folder and the path of each file that is not hidden."""
    folder = os.fspath(folder)
    storage.check_reachable(folder, "input")
    for name in storage.list_files(folder):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, storage.join_path(folder, name)


def list_house_tracks(
    count: int,
    seconds: tuple[float, float],
    seed: int,
    tempo: tuple[float, float] | None = None,
    *,
    vocals: bool = True,
    instruments: bool = True,
    lyrics: bool = False,
) -> list[Source]:
    """Lists the tracks of the house corpus, with some of their parts; see `house.track`.

    Args:
      seconds: shortest and longest length; each track draws its own, all lengths as often.

    Raises:
      ValueError: there are no tracks, or no parts of them.
    """
    if not (vocals or instruments):
        raise ValueError(
            "--nohouse_vocals and --nohouse_instruments leave no sound; remove one of them"
        )
    shortest, longest = seconds
    if count < 1 or not 0 < shortest <= longest:
        raise ValueError(
            f"--house_tracks={count} and --house_seconds={shortest:g}:{longest:g}: both must be "
            "above 0, and the shorter length the first"
        )
    return [
        Source(
            f"house_{i:04d}",
            index=i,
            seconds=_draw_length(shortest, longest, seed, i),
            seed=seed,
            tempo=tempo,
            vocals=vocals,
            instruments=instruments,
            lyrics=lyrics,
        )
        for i in range(count)
    ]


def _draw_length(shortest: float, longest: float, seed: int, index: int) -> float:
    """Returns the length of a track in seconds, the same with any number of tracks."""
    if shortest == longest:
        return shortest
    from jukejax.preparation.house.studio import make_stream

    return float(make_stream(seed, index, "length").uniform(shortest, longest))


def parse_length(text: str) -> tuple[float, float]:
    """Parses `45` or `30:60` of --house_seconds into the shortest and the longest length.

    Raises:
      ValueError: it is neither.
    """
    try:
        bounds = [float(number) for number in text.split(":")]
        low, high = bounds * 2 if len(bounds) == 1 else bounds
    except ValueError as error:
        raise ValueError(
            f"--house_seconds={text} is no number of seconds and not SHORTEST:LONGEST, such as "
            "30:60"
        ) from error
    return low, high


def parse_tempo(text: str | None) -> tuple[float, float] | None:
    """Parses `112:134` of --house_bpm.

    Raises:
      ValueError: it is no range of tempi.
    """
    if text is None:
        return None
    try:
        low, high = (float(number) for number in text.split(":"))
    except ValueError as error:
        raise ValueError(f"--house_bpm={text} is not LOWEST:HIGHEST, such as 112:134") from error
    return low, high
