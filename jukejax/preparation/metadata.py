"""Labels of tracks from a metadata file or from the tags of their files."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukejax.common import files
from jukejax.data.lrc import TimedLyrics, format_synchronised_text
from jukejax.preparation.lyrics_source import is_lyrics_path, parse_lyrics, read_lyrics_file
from jukejax.preparation.prepared_track import GridText
from jukejax.preparation.track_grid import check_grid_text

GRID_COLUMNS = ("bpm", "first_beat", "key", "sections")
NAME_COLUMNS = ("file", "artist", "genre", "lyrics")
COLUMNS = (*NAME_COLUMNS, *GRID_COLUMNS)  # of a metadata file; others are not read
FOREIGN_SHARE = 0.4  # of the letters of a Latin-1 tag that are not ASCII: another code page

TAGS = {  # spellings of each tag in Vorbis comments, ID3, ASF, MP4, RIFF INFO and APEv2
    "artist": ("artist", "TPE1", "Author", "\xa9ART", "IART"),
    "genre": ("genre", "TCON", "WM/Genre", "\xa9gen", "IGNR"),
    "bpm": ("bpm", "TBPM", "WM/BeatsPerMinute", "tmpo", "tempo"),
    "lyrics": ("lyrics", "SYLT", "USLT", "WM/Lyrics", "\xa9lyr", "unsyncedlyrics"),
    "key": ("initialkey", "TKEY", "WM/InitialKey", "----:com.apple.iTunes:initialkey", "key"),
}


@dataclass(frozen=True)
class TrackLabels:
    """Artist, genre, grid and lyrics of a file as text; empty if not given.

    Attributes:
      notes: doubts about them, for the user.
    """

    artist: str = ""
    genre: str = ""
    grid: GridText = field(default_factory=GridText)
    lyrics: TimedLyrics = field(default_factory=TimedLyrics)
    notes: list[str] = field(default_factory=list)


# -- Metadata file -------------------------------------------------------------------------------


def read_metadata(path: str | os.PathLike, folder: str = "") -> dict[str, TrackLabels]:
    """Reads a CSV with the columns of `COLUMNS`; returns labels by file.

    All columns but `file` may be missing; others are ignored. The keys are those of `file_key`. The
    lyrics are a text, or the path of a .txt or .lrc file, from the folder of the CSV.

    Args:
      folder: of the music; absolute paths of files in it are understood.

    Raises:
      ValueError: the file cannot be read, is not UTF-8, has other columns, or a line of it is
        wrong; the message has the number of the line.
    """
    files.check_regular(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"metadata {path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"metadata {path} cannot be read: {error.strerror}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"metadata {path}, line {line}: a NUL byte; save it as a text file")
    rows = _read_rows(path, text)
    columns = [name.strip().lower() for name in next(rows, (1, []))[1]]
    _check_columns(path, columns)
    labels: dict[str, TrackLabels] = {}
    lines: dict[str, int] = {}
    for line, values in rows:
        where = f"metadata {path}, line {line}"
        if len(values) > len(columns):
            raise ValueError(
                f"{where}: {len(values)} fields for {len(columns)} columns; put a name that "
                "holds a comma in double quotes"
            )
        row = dict(zip(columns, values, strict=False))
        name = row["file"].strip()
        key = file_key(name.removeprefix(f"{os.path.abspath(folder)}/") if folder else name)
        if not key:
            raise ValueError(f"{where}: the file is not named")
        if key in lines:
            raise ValueError(f"{where}: {key} is listed twice, first in line {lines[key]}")
        lines[key] = line
        grid = GridText(**{name: row.get(name, "").strip() for name in GRID_COLUMNS})
        try:
            check_grid_text(grid)
            lyrics = _read_lyrics(row.get("lyrics", ""), path)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        labels[key] = TrackLabels(row.get("artist", ""), row.get("genre", ""), grid, lyrics)
    return labels


def _read_lyrics(text: str, metadata: str | os.PathLike) -> TimedLyrics:
    """Reads the value of the column lyrics; raises ValueError for a path that cannot be read."""
    if not is_lyrics_path(text):
        return parse_lyrics(text)
    return read_lyrics_file(Path(metadata).parent / text.strip().replace("\\", "/"))


def _check_columns(path: str | os.PathLike, columns: Sequence[str]) -> None:
    """Checks that a table names the files, and that no label in it would be left out unseen.

    Raises:
      ValueError: a column is missing, named twice, or named almost as one that is read.
    """
    if "file" not in columns or not (set(COLUMNS) - {"file"}) & set(columns):
        raise ValueError(
            f"metadata {path} has the columns {','.join(columns) or '(none)'}; its first line "
            f"must name {','.join(COLUMNS)}"
        )
    for number, column in enumerate(columns):
        meant = next((name for name in NAME_COLUMNS if column.startswith(name)), None)
        if column in COLUMNS and column in columns[:number]:
            raise ValueError(f"metadata {path} has two columns {column}; remove one")
        if meant and meant not in columns:
            raise ValueError(
                f"metadata {path} has a column {column!r} and no {meant!r}: rename or remove it"
            )


def _read_rows(path: str | os.PathLike, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number of the first line and the fields of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error)
            if "unexpected end of data" in reason:
                reason = "a double quote is never closed"
            raise ValueError(f"metadata {path}, line {line}: {reason}") from error
        if row:
            yield line, row


def file_key(name: str) -> str:
    """Returns a file's path in one spelling for all operating systems."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


# -- Tags ----------------------------------------------------------------------------------------


def read_tags(path: str, container_tags: Mapping[str, str] | None = None) -> TrackLabels:
    """Reads artist, genre, grid and lyrics from the tags of a file; empty without tags.

    Tries mutagen, which knows several values and their encodings; then APEv2, which it reads of few
    formats; then what FFmpeg reads of the container (RIFF INFO, Matroska).

    Args:
      container_tags: FFmpeg's tags, by their names in lower case; see `decoding.SoundFile`.
    """
    notes: list[str] = []
    named = _read_file_tags(path, notes)
    artists, genres = named["artist"], named["genre"]
    tags = container_tags or {}
    artists = artists or _read_container_tag(tags, "artist", "album_artist", notes=notes)
    genres = genres or _read_container_tag(tags, "genre", notes=notes)
    if len(artists) > 1:
        notes.append(f"artists {', '.join(artists)}: labeled as the first")
    grid = GridText(
        bpm=(named["bpm"] or [tags.get("bpm", "") or tags.get("tbpm", "")])[0],
        key=(named["key"] or [tags.get("initialkey", "") or tags.get("tkey", "")])[0],
    )
    lyrics = parse_lyrics((named["lyrics"] or [tags.get("lyrics", "")])[0])
    return TrackLabels(artists[0] if artists else "", "; ".join(genres), grid, lyrics, notes)


def _read_file_tags(path: str, notes: list[str]) -> dict[str, list[str]]:
    """Returns the values of each of `TAGS`, of the first kind of tags that has it."""
    import mutagen
    import mutagen.apev2
    import mutagen.id3

    values: dict[str, list[str]] = {name: [] for name in TAGS}
    for read in (mutagen.File, mutagen.id3.ID3, mutagen.apev2.APEv2):
        try:
            tags = read(path)
        except Exception:  # mutagen raises errors of any type for what it does not expect
            continue
        for name, spellings in TAGS.items():
            values[name] = values[name] or _find_values(tags, *spellings, notes=notes)
        if values["artist"] or values["genre"]:
            break
    return values


def _find_values(tags: Any, *names: str, notes: list[str]) -> list[str]:
    """Returns the values of the first of the named tags that a file has."""
    for name in names:
        try:
            tag = _find_tag(tags, name)
        except (KeyError, ValueError):  # a key that this kind of tags cannot have
            continue
        if tag is None:
            continue
        if getattr(tag, "encoding", None) == 0:  # Latin-1, of ID3
            notes += _doubt_code_page(name, str(tag))
        if name == "TCON":  # numbers are names of ID3v1's list; v2.3 separates by slashes
            values = [part for genre in tag.genres for part in re.split("/", genre)]
        elif name == "SYLT":
            values = [format_synchronised_text(tag.text)]
        elif hasattr(tag, "text"):
            values = [tag.text] if isinstance(tag.text, str) else tag.text
        else:
            values = tag if isinstance(tag, list) else [str(tag)]
        if values := _split_values(values):
            return values
    return []


def _find_tag(tags: Any, name: str) -> Any:
    """Returns a tag; lyrics in ID3 have their language and a description in the key."""
    if not tags:
        return None
    if name in ("SYLT", "USLT"):
        frames = [tags[key] for key in tags.keys() if key.startswith(f"{name}:")]  # noqa: SIM118
        if name == "SYLT":  # lyrics or a transcription, in milliseconds: no chords, no MPEG frames
            frames = [frame for frame in frames if frame.type in (1, 2) and frame.format == 2]
        return next(iter(frames), None)
    return tags[name] if name in tags else None  # noqa: SIM401 - mutagen.File has no such get


def _read_container_tag(tags: Mapping[str, str], *names: str, notes: list[str]) -> list[str]:
    """Returns the values of the first of the named tags that a container has.

    Text that is not UTF-8 is read as Windows-1252, in which Windows programs write RIFF INFO.
    """
    name = next((name for name in names if tags.get(name)), None)
    if name is None:
        return []
    text = tags[name]
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        text = text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
        notes += _doubt_code_page(name, text)
    return _split_values([text])


def _split_values(values: list) -> list[str]:
    """Splits values at NUL and strips them; drops empty and repeated ones."""
    parts = [part.strip() for value in values for part in str(value).split("\0")]
    return list(dict.fromkeys(filter(None, parts)))


def _doubt_code_page(name: str, text: str) -> list[str]:
    """Returns a note if a Latin-1 text looks like one of another code page."""
    letters = [letter for letter in text if letter.isalpha() or ord(letter) > 127]
    foreign = [letter for letter in letters if ord(letter) > 127]
    if len(foreign) <= max(1, FOREIGN_SHARE * len(letters)):
        return []
    return [
        f"tag {name} reads {text[:60]!r}, most likely of another code page than its Latin-1: give "
        "the name by --metadata"
    ]
