"""Label vectors: length, position, artist, genres and grid in integers, a prior's conditions."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

# What a model can be told of the music, and be without (`models.label_config.list_label_names`).
LABEL_NAMES = ("artist", "genre", "tempo", "key", "bar", "section")
# Columns of a label vector: total length, offset and window length in samples, artist, genres; then
# those of `grid.Grid.make_entries` for a model with a grid; then the lyric tokens, if any.
TOTAL, OFFSET, LENGTH, ARTIST, FIRST_GENRE = range(5)


class LabelSizes(Protocol):
    """Describes what a model takes: genres of a track, and rows of its tables of names."""

    @property
    def max_genres(self) -> int: ...

    @property
    def num_artists(self) -> int: ...

    @property
    def num_genres(self) -> int: ...

    @property
    def has_grid(self) -> bool: ...

    @property
    def cycle_bars(self) -> int: ...

    @property
    def num_sections(self) -> int: ...


def find_excess(artist: int, genres: Sequence[int], sizes: LabelSizes) -> str | None:
    """Returns why a model cannot take the ids of a track; None if it can.

    JAX does not report an id beyond a table.
    """
    for kind, ids, rows in (
        ("artist", (artist,), sizes.num_artists),
        ("genre", genres, sizes.num_genres),
    ):
        for number in ids:
            if not 0 <= number < rows:
                return (
                    f"{kind} id {number} is outside of the model's table of {rows} "
                    f"(labels.num_{kind}s)"
                )
    if len(genres) > sizes.max_genres:
        return (
            f"{len(genres)} genres are more than the model takes, {sizes.max_genres} "
            "(labels.max_genres)"
        )
    return None


def make_label_vector(
    total_samples: int,
    offset: int,
    sample_length: int,
    artist: int,
    genres: Sequence[int],
    max_genres: int,
) -> np.ndarray:
    """Builds the label of one window in the layout of OpenAI's models, int32 [4 + max_genres].

    Args:
      total_samples: length of the whole track, in samples.
      offset: first sample of the window in the track.
      sample_length: length of the window, in samples.
      artist, genres: ids; the genres are padded with -1 to `max_genres`.

    Raises:
      ValueError: there are more genres, where OpenAI's code stops as well.
    """
    if len(genres) > max_genres:
        raise ValueError(f"{len(genres)} genres, but the model takes at most {max_genres}")
    padding = [-1] * (max_genres - len(genres))
    return np.array(
        [total_samples, offset, sample_length, artist, *genres, *padding], dtype=np.int32
    )


def remove_names(labels: np.ndarray, max_genres: int) -> np.ndarray:
    """Returns label vectors [B, N] with "unknown" artist and genre, otherwise the same."""
    unnamed = labels.copy()
    unnamed[:, ARTIST : FIRST_GENRE + 1] = 0
    unnamed[:, FIRST_GENRE + 1 : FIRST_GENRE + max_genres] = -1
    return unnamed
