"""Labels of tracks from a metadata file or from the tags of their files."""

import csv
import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrackLabels:
    """Artist and genre of a file as text; empty if not given."""

    artist: str = ""
    genre: str = ""


def read_metadata(path: str | os.PathLike) -> dict[str, TrackLabels]:
    """Reads a CSV with the columns file,artist,genre,lyrics; returns labels by `file_key`.

    Raises:
      ValueError: the file cannot be read, is not UTF-8, or has no column "file".
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"metadata {path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"metadata {path} cannot be read: {error.strerror}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip().lower() for name in rows.fieldnames or ()]
    if "file" not in columns:
        raise ValueError(
            f"metadata {path} has the columns {','.join(columns) or '(none)'}; its first line "
            "must name file,artist,genre,lyrics"
        )
    rows.fieldnames = columns
    return {
        file_key(row["file"] or ""): TrackLabels(row.get("artist") or "", row.get("genre") or "")
        for row in rows
    }


def file_key(name: str) -> str:
    """Returns a file's path in one spelling for all operating systems."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def read_tags(path: str) -> dict[str, str]:
    """Reads artist and genre from the tags of a file; empty without tags."""
    import mutagen

    try:
        tags = mutagen.File(path, easy=True)
    except (mutagen.MutagenError, OSError, ValueError):
        return {}
    artists = _find_tag(tags, "artist", "TPE1", "Author")
    return {
        "artist": artists[0] if artists else "",
        "genre": "; ".join(_find_tag(tags, "genre", "TCON", "WM/Genre")),
    }


def _find_tag(tags: Any, *names: str) -> list[str]:
    """Returns the values of the first of the named tags that a file has."""
    for name in names:
        if tags and name in tags:
            value = tags[name]
            return [str(item) for item in (value if isinstance(value, list) else [value])]
    return []
