"""Label ids of the tracks of a dataset, checked against what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jukejax.common.formatting import format_count
from jukejax.data.corpus import Track
from jukejax.data.grid import Grid, count_entries
from jukejax.data.labels import FIRST_GENRE, LabelSizes, find_excess
from jukejax.data.lyrics import LyricsReader
from jukejax.data.vocabularies import LabelIds


@dataclass(frozen=True)
class SplitLabels:
    """Label ids of each track of a split.

    Attributes:
      artists, genres: ids, by track.
      max_genres: entries of a label vector for genres.
      grids: by track, for models with musical labels; None for others.
      cycle_bars, num_sections: see `grid.Grid.make_entries`.
      lyrics: tokens by track, int32 [letters], for models with lyrics; empty for others.
      lyrics_reader: of these tokens.
    """

    artists: Sequence[int]
    genres: Sequence[tuple[int, ...]]
    max_genres: int
    grids: Sequence[Grid] | None = None
    lyrics: Sequence[np.ndarray] = ()
    lyrics_reader: LyricsReader | None = None
    cycle_bars: int = 1
    num_sections: int = 0

    @property
    def num_lyrics(self) -> int:
        """Returns the entries of a label vector for lyrics, which are its last ones."""
        return 0 if self.lyrics_reader is None else self.lyrics_reader.num_tokens

    @property
    def width(self) -> int:
        """Returns the entries of a label vector."""
        grid = count_entries(self.num_sections) if self.grids is not None else 0
        return FIRST_GENRE + self.max_genres + grid + self.num_lyrics


def encode_track_labels(
    tracks: Sequence[Track],
    split: str,
    vocabulary: LabelIds,
    sizes: LabelSizes | None,
    lyrics_reader: LyricsReader | None = None,
) -> SplitLabels:
    """Encodes the artist, the genres and the lyrics of each track.

    Args:
      split: of the tracks, for the message.
      sizes: of the model; None: of a model without labels, which takes any.
      lyrics_reader: of a model with lyrics.

    Raises:
      ValueError: the model cannot take the labels of a track; the message counts such tracks, names
        the first, and says what to change.
    """
    artists = [vocabulary.artist_id(track.artist) for track in tracks]
    genres = [vocabulary.track_genre_ids(track.genre) for track in tracks]
    most = max(map(len, genres), default=1)
    if sizes is None:
        return SplitLabels(artists, genres, most)
    excesses = [find_excess(*ids, sizes) for ids in zip(artists, genres, strict=True)]
    refused = [(track, excess) for track, excess in zip(tracks, excesses, strict=True) if excess]
    if refused:
        track, excess = refused[0]
        needed = (
            f"num_artists={max(max(artists) + 1, sizes.num_artists)}",
            f"num_genres={max(max(map(max, genres)) + 1, sizes.num_genres)}",
            f"max_genres={max(most, sizes.max_genres)}",
        )
        number = format_count(len(tracks), f"{split} track")
        raise ValueError(
            f"the model cannot take the labels of {len(refused)} of {number}; "
            f"the first, {track.name} (artist {track.artist!r}, genres "
            f"{', '.join(track.genre) or 'none'}): {excess}; train with config.model.labels of "
            f"{', '.join(needed)}, or change the labels of these tracks and prepare them again"
        )
    grids = [track.grid for track in tracks] if sizes.has_grid else None
    tokens: list[np.ndarray] = []
    if lyrics_reader is not None:
        by_text = {text: lyrics_reader.encode(text) for text in {t.lyrics for t in tracks}}
        tokens = [by_text[track.lyrics] for track in tracks]
    return SplitLabels(
        artists,
        genres,
        sizes.max_genres,
        grids,
        tokens,
        lyrics_reader,
        sizes.cycle_bars,
        sizes.num_sections,
    )
