"""Reading of windows of stored tracks, chunk by chunk, into existing arrays.

Several threads may read at once.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jukejax.data import corpus, records

RAMP = 256  # samples of a ramp beside silence, 6 ms
_BLOCK = 16384  # samples converted at a time


class _Overlap(NamedTuple):
    """The overlap of a window with one chunk, in samples.

    Attributes:
      first, last: range within the chunk; `last` is exclusive.
      offset: of that range within the window.
    """

    chunk: int
    first: int
    last: int
    offset: int


def _find_overlaps(start: int, size: int, chunk_samples: int) -> Iterator[_Overlap]:
    """Yields the overlap with each chunk of a window of `size` samples from `start` on."""
    for chunk in range(start // chunk_samples, math.ceil((start + size) / chunk_samples)):
        base = chunk * chunk_samples
        first, last = max(start, base), min(start + size, base + chunk_samples)
        yield _Overlap(chunk, first - base, last - base, first - start)


def change_level(window: np.ndarray, gain: float, mute: tuple[int, int] | None) -> None:
    """Changes the level of a window, float32 [time], in place.

    Args:
      gain: factor, at most that of full scale.
      mute: first and last sample (exclusive) of a stretch to silence, with ramps outside of it.
    """
    if gain != 1.0:
        peak = float(np.abs(window).max())
        window *= min(gain, max(1.0, 1 / peak) if gain > 1 and peak > 0 else gain)
    if mute is not None:
        first, last = mute
        before, after = window[max(first - RAMP, 0) : first], window[last : last + RAMP]
        ramp = np.linspace(0, 1, RAMP, endpoint=False, dtype=np.float32)
        before *= ramp[::-1][RAMP - len(before) :]
        after *= ramp[: len(after)]
        window[first:last] = 0


def fill_audio_window(
    dataset: corpus.Dataset,
    split: str,
    track: corpus.Track,
    start: int,
    out: np.ndarray,
    blend: float | None = None,
) -> None:
    """Fills `out`, float32 [window], with the mono mix of an audio track from sample `start` on.

    Args:
      blend: weight of the left channel in the mix; None for the mean of the channels.
    """
    if blend is None or track.channels == 1:
        weights = np.full(track.channels, 1 / track.channels)
    else:
        weights = np.array([blend, 1 - blend])
    weights = (weights / 32768).astype(np.float32)
    scratch = np.empty((_BLOCK, track.channels), np.float32)
    for chunk, first, last, offset in _find_overlaps(start, len(out), dataset.table.chunk_samples):
        samples = records.decode_audio(dataset.read_chunk(split, track, chunk))[first:last]
        target = out[offset : offset + last - first]
        # In blocks that fit into the processor's cache; a product is the fastest sum of pairs.
        for i in range(0, len(samples), _BLOCK):
            block = samples[i : i + _BLOCK]
            scratch[: len(block)] = block
            np.matmul(scratch[: len(block)], weights, out=target[i : i + _BLOCK])


def fill_code_window(
    dataset: corpus.Dataset,
    split: str,
    track: corpus.Track,
    start: int,
    outs: dict[str, np.ndarray],
) -> None:
    """Fills `outs`, int32 [window of the level] by name, with codes from sample `start` on."""
    table, names = dataset.table, list(outs)
    levels = records.name_arrays(len(table.hops), table.references)
    hops = [table.hops[levels[name]] for name in names]
    size = len(outs[names[0]]) * hops[0]
    for chunk, first, last, offset in _find_overlaps(start, size, dataset.table.chunk_samples):
        codes = records.decode_codes(dataset.read_chunk(split, track, chunk), names)
        for name, hop, chunk_codes in zip(names, hops, codes, strict=True):
            target = outs[name][offset // hop : (offset + last - first) // hop]
            target[:] = chunk_codes[first // hop : last // hop]
