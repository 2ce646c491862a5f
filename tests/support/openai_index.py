"""OpenAI's way from an item's number to a place in a corpus, for comparison with their runs.

Their data set lays the tracks end to end and cuts the whole into equal items; an item that falls
over the edge of a track is moved into the track that holds its middle. Ours
(`pipeline.read_audio_batches`) cuts each track by itself.
"""

from collections.abc import Sequence

import numpy as np


def track_ends(
    lengths: Sequence[float], shortest: float, longest: float
) -> tuple[list[int], np.ndarray]:
    """(numbers of the tracks kept, where each of them ends in the row of tracks).

    Args:
      lengths: of all tracks, in samples; rounded down.
      shortest, longest: tracks with shortest <= length < longest are kept.
    """
    kept = [i for i, length in enumerate(lengths) if shortest <= length < longest]
    return kept, np.cumsum([int(lengths[i]) for i in kept])


def locate(item: int, shift: int, ends: np.ndarray, size: int) -> tuple[int, int] | None:
    """(track, offset in samples) of an item; None where OpenAI's code stops with an assertion.

    That is where a shift leads past a short track.

    Args:
      item: its number.
      shift: samples that it is moved by, at most half a size either way.
      ends: from `track_ends`.
      size: samples of an item.
    """
    offset = item * size + shift
    track = int(np.searchsorted(ends, offset + size // 2))
    start, end = (int(ends[track - 1]) if track else 0), int(ends[track])
    if offset > end - size:
        offset = max(start, offset - size // 2)
    elif offset < start:
        offset = min(end - size, offset + size // 2)
    return (track, offset - start) if start <= offset <= end - size else None
