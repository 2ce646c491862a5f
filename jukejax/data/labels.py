"""Label vectors: integers for length, position, artist and genres, the conditions of a prior."""

from collections.abc import Sequence

import numpy as np

NUM_TIMING = 4  # entries before the genres: total length, offset, window length, artist


def label_vector(
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
      artist, genres: ids; the genres are truncated or padded with -1 to `max_genres`.
    """
    genres = list(genres)[:max_genres]
    padding = [-1] * (max_genres - len(genres))
    return np.array(
        [total_samples, offset, sample_length, artist, *genres, *padding], dtype=np.int32
    )
