"""Vocabularies: the artist and genre names of a model and the ids that condition it.

`Vocabulary` is that of a corpus, `openai_labels.OpenAIVocabulary` that of a released model. Id 0 is
"unknown".
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.data import openai_labels
from jukejax.data.lyrics import choose_characters
from jukejax.data.openai_labels import OpenAIVocabulary

UNKNOWN = "unknown"
MAX_LISTED = 12  # largest vocabulary of which an error lists all names
NUM_NEAREST = 3  # number of names of a larger vocabulary that an error lists


class LabelIds(Protocol):
    """Looks up label ids by name."""

    def artist_id(self, name: str) -> int: ...

    def track_genre_ids(self, genres: Sequence[str]) -> tuple[int, ...]: ...


def normalize_name(name: str) -> str:
    """Normalizes case, character width and spaces of a name."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def split_genres(text: str) -> tuple[str, ...]:
    """Splits genres such as `"Deep House; minimal, Dub"` at `;` and `,`."""
    return tuple(" ".join(genre.split()) for genre in re.split("[;,]", text) if genre.strip())


@dataclass(frozen=True)
class Vocabulary:
    """Artists and genres of a corpus; the id of a name is its index, and index 0 is "unknown".

    Attributes:
      characters: of its lyrics, for the alphabet "unicode"; see `lyrics.choose_characters`.
    """

    artists: tuple[str, ...] = (UNKNOWN,)
    genres: tuple[str, ...] = (UNKNOWN,)
    characters: str = ""

    @classmethod
    def build(
        cls, artists: Iterable[str], genres: Iterable[str], lyrics: Iterable[str] = ()
    ) -> "Vocabulary":
        """Builds the vocabulary in alphabetical order, with the first of several spellings.

        Args:
          lyrics: texts of the lyrics.
        """
        return cls(_unique_names(artists), _unique_names(genres), choose_characters(lyrics))

    def artist_id(self, name: str) -> int:
        """Returns the id of an artist.

        Raises:
          ValueError: there is no such artist; the message lists the nearest names.
        """
        return _find_name(name, self._artist_ids, self.artists, "artist")

    def genre_ids(self, text: str) -> tuple[int, ...]:
        """Returns the ids of genres separated by `;` or `,`, (0,) for no genre; see `artist_id`."""
        return self.track_genre_ids(split_genres(text))

    def track_genre_ids(self, genres: Sequence[str]) -> tuple[int, ...]:
        """Returns the id of each genre, (0,) for no genre; see `artist_id`."""
        return tuple(_find_name(n, self._genre_ids, self.genres, "genre") for n in genres) or (0,)

    def plain(self) -> dict:
        """Returns the vocabulary as JSON values; `parse_vocabulary` reads it back."""
        names = {"artists": self.artists, "genres": self.genres}
        return names | ({"characters": self.characters} if self.characters else {})

    def save(self, path: str | os.PathLike) -> None:
        """Writes the vocabulary as a JSON file."""
        files.write_json(path, self.plain())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Vocabulary":
        """Reads the file of `save`.

        Raises:
          ValueError: the file holds no vocabulary.
        """
        vocabulary = parse_vocabulary(files.read_json(path), str(path))
        if not isinstance(vocabulary, cls):
            raise ValueError(f"{path} is the vocabulary of a released model, not of a corpus")
        return vocabulary

    @cached_property
    def _artist_ids(self) -> dict[str, int]:
        return {normalize_name(name): i for i, name in enumerate(self.artists)}

    @cached_property
    def _genre_ids(self) -> dict[str, int]:
        return {normalize_name(name): i for i, name in enumerate(self.genres)}


def _unique_names(names: Iterable[str]) -> tuple[str, ...]:
    spellings: dict[str, str] = {}
    for name in sorted(names):
        spellings.setdefault(normalize_name(name), " ".join(name.split()))
    spellings.pop("", None)
    spellings.pop(UNKNOWN, None)
    return (UNKNOWN, *(spellings[key] for key in sorted(spellings)))


def _find_name(name: str, ids: dict[str, int], names: tuple[str, ...], kind: str) -> int:
    key = normalize_name(name) or UNKNOWN
    if key in ids:
        return ids[key]
    count = MAX_LISTED if len(ids) <= MAX_LISTED else NUM_NEAREST
    nearest = [names[ids[k]] for k in difflib.get_close_matches(key, ids, n=count, cutoff=0.0)]
    raise ValueError(f"no {kind} {name!r} in the vocabulary; nearest: {', '.join(nearest)}")


@dataclass(frozen=True)
class LenientIds:
    """Looks up label ids; names that are missing in the vocabulary are "unknown" (id 0)."""

    vocabulary: LabelIds

    def artist_id(self, name: str) -> int:
        """Returns the id of an artist, 0 if there is no such artist."""
        try:
            return self.vocabulary.artist_id(name)
        except ValueError:
            return 0

    def track_genre_ids(self, genres: Sequence[str]) -> tuple[int, ...]:
        """Returns the first id of each genre, 0 if there is no such genre; (0,) for no genre."""
        return tuple(self._genre_id(genre) for genre in genres) or (0,)

    def _genre_id(self, genre: str) -> int:
        try:
            return self.vocabulary.track_genre_ids((genre,))[0]
        except ValueError:
            return 0


def parse_vocabulary(table: Mapping, where: str = "vocabulary") -> Vocabulary | OpenAIVocabulary:
    """Reads the vocabulary in a model's description: OpenAI's if the table has a version.

    Args:
      where: name of the table, for messages.

    Raises:
      ValueError: a field is missing or wrong; the message names it.
    """
    if "version" in table:
        return _parse_openai_vocabulary(table, where)
    for name in ("artists", "genres"):
        if name not in table:
            raise ValueError(f"{where} lacks {name}")
    vocabulary = freeze(Vocabulary, table, where, ignore_unknown=True)
    for name in ("artists", "genres"):
        if getattr(vocabulary, name)[:1] != (UNKNOWN,):
            raise ValueError(f"{where}.{name} does not begin with {UNKNOWN!r}")
    return vocabulary


def _parse_openai_vocabulary(table: Mapping, where: str) -> OpenAIVocabulary:
    versions = [str(version) for version in openai_labels.Version]
    if table["version"] not in versions:
        raise ValueError(f"{where}.version is {table['version']!r}, not {' or '.join(versions)}")
    plain = freeze(_OpenAITable, table, where, ignore_unknown=True)
    for name, ids in (("artists", plain.artists), ("genres", plain.genres)):
        for key, number in ids.items():
            if not 0 <= number <= openai_labels.MAX_ID:
                raise ValueError(
                    f"{where}.{name}.{key} is {number}, not 0 to {openai_labels.MAX_ID}"
                )
    return OpenAIVocabulary.from_plain(table)


@dataclass(frozen=True)
class _OpenAITable:
    """The JSON values of an `OpenAIVocabulary`."""

    artists: dict[str, int]
    genres: dict[str, int]


@dataclass(frozen=True)
class LabelTables:
    """Vocabulary and label tables of a model that is trained on a new corpus.

    Attributes:
      vocabulary: the model's own names, followed by those of the corpus.
      num_artists, num_genres: rows of the model's tables.
    """

    vocabulary: Vocabulary | OpenAIVocabulary
    num_artists: int
    num_genres: int


def extend_vocabulary(
    vocabulary: Vocabulary | OpenAIVocabulary, corpus: Vocabulary
) -> Vocabulary | OpenAIVocabulary:
    """Appends the names of `corpus` that are missing in `vocabulary`.

    Characters of lyrics are not appended: a model that has some cannot read others.
    """
    if isinstance(vocabulary, Vocabulary):
        return Vocabulary(
            _append_names(vocabulary.artists, corpus.artists),
            _append_names(vocabulary.genres, corpus.genres),
            vocabulary.characters or corpus.characters,
        )
    artists = [vocabulary.artist_key(name) for name in corpus.artists[1:]]
    genres = [key for name in corpus.genres[1:] for key in vocabulary.genre_keys(name)]
    return OpenAIVocabulary(
        vocabulary.version,
        _append_keys(vocabulary.artists, artists),
        _append_keys(vocabulary.genres, genres),
    )


def count_rows(names: Sequence[str] | Mapping[str, int]) -> int:
    """Returns the number of rows of a label table for the names of a vocabulary."""
    return openai_labels.count_rows(names) if isinstance(names, Mapping) else len(names)


def used_ids(names: Sequence[str] | Mapping[str, int]) -> set[int]:
    """Returns the ids of the names of a vocabulary."""
    return set(names.values()) if isinstance(names, Mapping) else set(range(len(names)))


def _append_names(names: Sequence[str], new_names: Sequence[str]) -> tuple[str, ...]:
    spellings = {normalize_name(name) for name in names}
    return (*names, *(name for name in new_names if normalize_name(name) not in spellings))


def _append_keys(ids: Mapping[str, int], keys: Sequence[str]) -> dict[str, int]:
    extended, following = dict(ids), openai_labels.count_rows(ids)
    for key in keys:
        if key and key not in extended:
            extended[key] = following
            following += 1
    return extended
