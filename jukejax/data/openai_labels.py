"""OpenAI's artist and genre ids, read from the user's copies of OpenAI's lists.

A list is text with one name per line: `joe bonamassa;6332`. Version 2 (5b, 5b_lyrics and the
upsamplers) keeps only a-z and 0-9 of a name, replaces other characters by "_", and splits a genre
into its words, at most five; version 3 (1b_lyrics) keeps all characters, in lower case, and has one
genre per track. Several names may share an id; id 0 is "unknown".
"""

import difflib
import enum
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_ID = 1_000_000  # larger numbers in a list are errors
NUM_NEAREST = 3  # names that an error lists


class Version(enum.StrEnum):
    """Version of OpenAI's lists and of their spelling."""

    V2 = "v2"
    V3 = "v3"

    @property
    def max_genres(self) -> int:
        """Maximum number of genre ids of a track."""
        return 5 if self is Version.V2 else 1

    def key(self, name: str) -> str:
        """Returns a name in the spelling of this version's lists."""
        if self is Version.V3:
            return name.lower()
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

    def genre_keys(self, text: str) -> list[str]:
        """Returns the entries of the genre list for a genre."""
        key = self.key(text)
        return key.split("_") if self is Version.V2 else [key]


@dataclass(frozen=True)
class OpenAIVocabulary:
    """Artists and genres of a released model.

    Attributes:
      version: of the spelling of the names.
      artists, genres: name to id; several names may share an id.
    """

    version: Version
    artists: Mapping[str, int]
    genres: Mapping[str, int]

    def artist_id(self, name: str, *, lenient: bool = False) -> int:
        """Returns the id of an artist, 0 for an empty name.

        Args:
          lenient: return 0 for an unknown name, as OpenAI's code does.

        Raises:
          ValueError: there is no such artist; the message lists the three nearest names.
        """
        if lenient:
            return self.artists.get(self.version.key(name), 0)
        return _find_key(self.artist_key(name), name, self.artists, "artist")

    def genre_ids(self, text: str, *, lenient: bool = False) -> tuple[int, ...]:
        """Returns the id of a genre, in version 2 of each of its words; (0,) for an empty text.

        Args:
          lenient: return 0 for unknown words and accept any number of them, like OpenAI's
            look-up (whose labels then fail an assertion).

        Raises:
          ValueError: there is no such genre, or it has more words than the model accepts.
        """
        if lenient:
            return tuple(self.genres.get(key, 0) for key in self.version.genre_keys(text))
        keys = self.genre_keys(text)
        if len(keys) > self.version.max_genres:
            raise ValueError(
                f"genre {text!r} has {len(keys)} words, but the model takes at most "
                f"{self.version.max_genres}; remove some"
            )
        kind = "genre" if self.version is Version.V3 else f"genre word (of {text!r})"
        return tuple(_find_key(key, key, self.genres, kind) for key in keys)

    def track_genre_ids(self, genres: Sequence[str]) -> tuple[int, ...]:
        """Returns the ids of the distinct entries of a track's genres; (0,) for no genre.

        Entries that are missing in the lists have id 0, as in OpenAI's data set.
        """
        keys = dict.fromkeys(key for genre in genres for key in self.genre_keys(genre))
        return tuple(self.genres.get(key, 0) for key in keys) or (0,)

    def artist_key(self, name: str) -> str:
        """Returns the entry of the artist list for a name."""
        return self.version.key(_collapse_spaces(name))

    def genre_keys(self, text: str) -> list[str]:
        """Returns the entries of the genre list for a genre."""
        return self.version.genre_keys(_collapse_spaces(text))

    def plain(self) -> dict:
        """Returns the vocabulary as JSON values; `from_plain` reads it back."""
        return {
            "version": str(self.version),
            "artists": dict(self.artists),
            "genres": dict(self.genres),
        }

    @classmethod
    def from_plain(cls, table: Mapping) -> "OpenAIVocabulary":
        """Inverts `plain`.

        Raises:
          ValueError: the table holds no vocabulary of OpenAI's models.
        """
        try:
            return cls(Version(table["version"]), dict(table["artists"]), dict(table["genres"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "not a vocabulary of OpenAI's models: it needs 'version' (v2 or v3), 'artists' and "
                "'genres'"
            ) from error


def _collapse_spaces(name: str) -> str:
    return " ".join(name.split())


def _find_key(key: str, name: str, ids: Mapping[str, int], kind: str) -> int:
    if key in ids:
        return ids[key]
    if not key:
        return 0
    names = [other for other in ids if other]
    nearest = difflib.get_close_matches(key, names, n=NUM_NEAREST, cutoff=0.0)
    raise ValueError(f"no {kind} {name!r} in the vocabulary; nearest: {', '.join(nearest)}")


def count_rows(ids: Mapping[str, int]) -> int:
    """Returns the number of rows of a released model's embedding for a list.

    The list of v2 artists has three names for id 0, and the model one row per name; the list of v3
    artists has a duplicate name, and the model one row per id.
    """
    return max(len(ids), max(ids.values()) + 1)


def read_ids(path: str | os.PathLike) -> dict[str, int]:
    """Reads a list as {name in lower case: id}; the last line of a duplicate name is used.

    Raises:
      ValueError: the file is no such list; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text, but a list of ids must be") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    ids = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, separator, value = line.strip().rpartition(";")
        if not separator or not value.strip().isdecimal() or int(value) > MAX_ID:
            raise ValueError(
                f"{path} line {number} is {line[:60]!r}, expected a name and its id: name;12"
            )
        ids[name.lower()] = int(value)
    if not ids:
        raise ValueError(f"{path} holds no ids; a line should be: name;12")
    return ids
