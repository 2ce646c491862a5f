"""What a listener would call a track, artist and genres, as the integers that condition a model."""

import csv
import difflib
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jukejax.common import files

UNKNOWN = "unknown"
FEW = 12  # names of a vocabulary that an error lists whole; of more it says the nearest three
NUM_TIMING = 4  # total length, offset, sample length, artist: what precedes the genres


def normalise(name: str) -> str:
    """Case, width of characters and spaces do not tell two names apart."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def split_genres(text: str) -> tuple[str, ...]:
    """`"Deep House; minimal, Dub"` to its parts; separators are `;` and `,`."""
    return tuple(" ".join(part.split()) for part in re.split("[;,]", text) if part.strip())


@dataclass(frozen=True)
class Vocabulary:
    """The names a model knows; the id of a name is its place, and place 0 is "unknown"."""

    artists: tuple[str, ...] = (UNKNOWN,)
    genres: tuple[str, ...] = (UNKNOWN,)

    @classmethod
    def build(cls, artists: Iterable[str], genres: Iterable[str]) -> "Vocabulary":
        """All names in alphabetical order; of several spellings the first one is kept."""
        return cls(_unique(artists), _unique(genres))

    def artist_id(self, name: str) -> int:
        """The id of an artist; ValueError with the nearest names if there is no such artist."""
        return _find(name, self._artist_ids, self.artists, "artist")

    def genre_ids(self, text: str | Sequence[str]) -> tuple[int, ...]:
        """The ids of a genre or of several, separated by `;` or `,`; (0,) for no genre at all."""
        names = split_genres(text) if isinstance(text, str) else text
        return tuple(_find(name, self._genre_ids, self.genres, "genre") for name in names) or (0,)

    def save(self, path: str | os.PathLike) -> None:
        files.write_json(path, {"artists": self.artists, "genres": self.genres})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Vocabulary":
        try:
            table = json.loads(Path(path).read_text())
            vocabulary = cls(tuple(table["artists"]), tuple(table["genres"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a vocabulary: it needs lists 'artists' and 'genres'"
            ) from error
        if vocabulary.artists[:1] != (UNKNOWN,) or vocabulary.genres[:1] != (UNKNOWN,):
            raise ValueError(f"{path}: the first artist and the first genre must be {UNKNOWN!r}")
        return vocabulary

    @cached_property
    def _artist_ids(self) -> dict[str, int]:
        return {normalise(name): i for i, name in enumerate(self.artists)}

    @cached_property
    def _genre_ids(self) -> dict[str, int]:
        return {normalise(name): i for i, name in enumerate(self.genres)}


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    spellings: dict[str, str] = {}
    for name in sorted(names):
        spellings.setdefault(normalise(name), " ".join(name.split()))
    spellings.pop("", None)
    spellings.pop(UNKNOWN, None)
    return (UNKNOWN, *(spellings[key] for key in sorted(spellings)))


def _find(name: str, ids: dict[str, int], names: tuple[str, ...], what: str) -> int:
    key = normalise(name) or UNKNOWN
    if key in ids:
        return ids[key]
    count = FEW if len(ids) <= FEW else 3
    near = [names[ids[k]] for k in difflib.get_close_matches(key, ids, n=count, cutoff=0.0)]
    raise ValueError(f"no {what} {name!r} in the vocabulary; nearest: {', '.join(near)}")


@dataclass(frozen=True)
class Given:
    """What a metadata CSV says of a file; empty where it says nothing."""

    artist: str = ""
    genre: str = ""


def read_metadata(path: str | os.PathLike) -> dict[str, Given]:
    """A CSV with the columns file,artist,genre,lyrics, by `file_key` of the file."""
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
        file_key(row["file"] or ""): Given(row.get("artist") or "", row.get("genre") or "")
        for row in rows
    }


def file_key(name: str) -> str:
    """A file's path as two systems would agree on it."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def label_vector(
    total_samples: int,
    offset: int,
    sample_length: int,
    artist: int,
    genres: Sequence[int],
    max_genres: int,
) -> np.ndarray:
    """int32 [4 + max_genres]: the label of one window, as OpenAI's models read it.

    Args:
      total_samples: length of the whole track, in samples.
      offset: where in it the window starts, in samples.
      sample_length: length of the window, in samples.
      artist, genres: ids; the genres are cut or padded with -1 to `max_genres`.
    """
    genres = list(genres)[:max_genres]
    padding = [-1] * (max_genres - len(genres))
    return np.array(
        [total_samples, offset, sample_length, artist, *genres, *padding], dtype=np.int32
    )
