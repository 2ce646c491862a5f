"""Parts of stored tracks, straight into arrays that are there already: only what is needed is read.

Safe from several threads at once.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from jukejax.data import corpus, records

_BLOCK = 16384  # samples converted at a time


def _pieces(start: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(chunk, first sample in it, last + 1, where in the window) for each chunk of a window."""
    for chunk in range(start // records.CHUNK, math.ceil((start + size) / records.CHUNK)):
        base = chunk * records.CHUNK
        first, last = max(start, base), min(start + size, base + records.CHUNK)
        yield chunk, first - base, last - base, first - start


def read_mono(
    dataset: corpus.Dataset,
    split: str,
    track: corpus.Track,
    start: int,
    out: np.ndarray,
    blend: float | None = None,
) -> None:
    """Fills `out`, float32 [window], with the samples of an audio track from `start` on.

    Args:
      blend: share of the left channel in the sum of two; None for their mean.
    """
    if blend is None or track.channels == 1:
        shares = np.full(track.channels, 1 / track.channels)
    else:
        shares = np.array([blend, 1 - blend])
    shares = (shares / 32768).astype(np.float32)
    scratch = np.empty((_BLOCK, track.channels), np.float32)
    for chunk, first, last, at in _pieces(start, len(out)):
        piece = records.decode_audio(dataset.read_chunk(split, track, chunk))[first:last]
        into = out[at : at + last - first]
        # In blocks that stay in the processor's cache; a product is the fastest sum of pairs.
        for i in range(0, len(piece), _BLOCK):
            block = piece[i : i + _BLOCK]
            scratch[: len(block)] = block
            np.matmul(scratch[: len(block)], shares, out=into[i : i + _BLOCK])


def read_codes(
    dataset: corpus.Dataset,
    split: str,
    track: corpus.Track,
    start: int,
    levels: Sequence[int],
    outs: Sequence[np.ndarray],
) -> None:
    """Fills `outs[j]`, int32 [window of levels[j]], with codes from sample `start` on."""
    size = len(outs[0]) * records.HOPS[levels[0]]
    for chunk, first, last, at in _pieces(start, size):
        codes = records.decode_codes(dataset.read_chunk(split, track, chunk), levels)
        for k, code, out in zip(levels, codes, outs, strict=True):
            hop = records.HOPS[k]
            out[at // hop : (at + last - first) // hop] = code[first // hop : last // hop]
