"""OpenAI's lists of artist and genre ids, read from files that the user has: none is shipped.

A list is text, a line a name: `joe bonamassa;6332`. Version 2 (5b, 5b_lyrics and the upsamplers)
keeps only a-z and 0-9 of a name, writes "_" for everything else, and takes a genre apart into its
words, at most five; version 3 (1b_lyrics) keeps names as they are, in lower case, and knows whole
genres, one for each track. Several names may share an id; id 0 is "unknown".
"""

import difflib
import enum
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jukejax.data import labels

MAX_ID = 1_000_000  # what lies above is no id


class Version(enum.StrEnum):
    """Which of OpenAI's two lists, and how it spells names."""

    V2 = "v2"
    V3 = "v3"

    @property
    def max_genres(self) -> int:
        """Genre ids that a track may have."""
        return 5 if self is Version.V2 else 1

    def key(self, name: str) -> str:
        """A name as this version's lists spell it."""
        if self is Version.V3:
            return name.lower()
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

    def genre_keys(self, text: str) -> list[str]:
        """The entries of the genre list that a genre stands for."""
        key = self.key(text)
        return key.split("_") if self is Version.V2 else [key]


@dataclass(frozen=True)
class OpenAIVocabulary:
    """Artists and genres of a released model; `artist_id` and `genre_ids` as `labels.Vocabulary`.

    Attributes:
      version: how names are spelt.
      artists, genres: name to id.
    """

    version: Version
    artists: Mapping[str, int]
    genres: Mapping[str, int]

    def artist_id(self, name: str, *, lenient: bool = False) -> int:
        """The id of an artist, 0 for an empty name.

        Args:
          lenient: take 0 for an unknown name, as OpenAI's code does, instead of a ValueError that
            names the three nearest.
        """
        if lenient:
            return self.artists.get(self.version.key(name), 0)
        return _find(self.version.key(_tidy(name)), name, self.artists, "artist")

    def genre_ids(self, text: str, *, lenient: bool = False) -> tuple[int, ...]:
        """The ids of a genre: of each of its words in version 2. (0,) for an empty text.

        Args:
          lenient: take 0 for unknown words and any number of them, as OpenAI's look-up does
            (its labels then stop at an assertion); otherwise both are a ValueError.
        """
        if lenient:
            return tuple(self.genres.get(key, 0) for key in self.version.genre_keys(text))
        keys = self.version.genre_keys(_tidy(text))
        if len(keys) > self.version.max_genres:
            raise ValueError(
                f"genre {text!r} has {len(keys)} words, but the model takes at most "
                f"{self.version.max_genres}; leave some out"
            )
        what = "genre" if self.version is Version.V3 else f"genre word (of {text!r})"
        return tuple(_find(key, key, self.genres, what) for key in keys)

    def artist_name(self, number: int) -> str:
        """All names of an artist's id, joined by "_" as in OpenAI's logs; ValueError for no id."""
        return _name(number, self._artist_names, "artist")

    def genre_name(self, number: int) -> str:
        """As `artist_name`."""
        return _name(number, self._genre_names, "genre")

    def plain(self) -> dict:
        """What JSON can hold; `from_plain` reads it back."""
        return {
            "version": str(self.version),
            "artists": dict(self.artists),
            "genres": dict(self.genres),
        }

    @classmethod
    def from_plain(cls, table: Mapping) -> "OpenAIVocabulary":
        try:
            return cls(Version(table["version"]), dict(table["artists"]), dict(table["genres"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "not a vocabulary of OpenAI's models: it needs 'version' (v2 or v3), 'artists' and "
                "'genres'"
            ) from error

    @cached_property
    def _artist_names(self) -> dict[int, str]:
        return _names_by_id(self.artists)

    @cached_property
    def _genre_names(self) -> dict[int, str]:
        return _names_by_id(self.genres)


def from_table(table: Mapping) -> OpenAIVocabulary | labels.Vocabulary:
    """The vocabulary in a model's description: OpenAI's if it says its version, else ours."""
    if "version" in table:
        return OpenAIVocabulary.from_plain(table)
    return labels.Vocabulary(tuple(table["artists"]), tuple(table["genres"]))


def table_rows(ids: Mapping[str, int]) -> int:
    """Rows of the embedding that a released model has for a list.

    The list of v2 artists holds three names for id 0, and the model a row for every name; that of
    v3 artists holds a name twice, and the model a row for every id.
    """
    return max(len(ids), max(ids.values()) + 1)


def load(
    artists: str | os.PathLike, genres: str | os.PathLike, version: Version | str
) -> OpenAIVocabulary:
    """Reads an artist list and a genre list.

    Raises:
      ValueError: a file is no such list; the message names the line.
    """
    return OpenAIVocabulary(Version(version), read_ids(artists), read_ids(genres))


def load_folder(folder: str | os.PathLike, version: Version | str) -> OpenAIVocabulary:
    """Reads both lists of a version under OpenAI's file names, such as `v3_artist_ids.txt`."""
    paths = [Path(folder) / f"{Version(version)}_{what}_ids.txt" for what in ("artist", "genre")]
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: the folder needs OpenAI's {paths[0].name} and {paths[1].name} "
                "(jukebox/data/ids in their repository)"
            )
    return load(*paths, version)


def read_ids(path: str | os.PathLike) -> dict[str, int]:
    """Names in lower case to ids; of a name that comes twice the last line counts."""
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


def _tidy(name: str) -> str:
    return " ".join(name.split())


def _find(key: str, given: str, ids: Mapping[str, int], what: str) -> int:
    if key in ids:
        return ids[key]
    if not key:
        return 0
    near = difflib.get_close_matches(key, [name for name in ids if name], n=3, cutoff=0.0)
    raise ValueError(f"no {what} {given!r} in the vocabulary; nearest: {', '.join(near)}")


def _names_by_id(ids: Mapping[str, int]) -> dict[int, str]:
    names: dict[int, list[str]] = {}
    for name, number in ids.items():
        names.setdefault(number, []).append(name)
    return {number: "_".join(sorted(group)) for number, group in names.items()}


def _name(number: int, names: dict[int, str], what: str) -> str:
    if number not in names:
        raise ValueError(f"no {what} has the id {number}; ids go up to {max(names)}")
    return names[number]
