"""Labels of tracks from a metadata file."""

import csv
import io
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrackLabels:
    """Artist and genre of a file as text; empty where they are not given."""

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
