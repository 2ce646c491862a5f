"""Exact matches between the codes of a track and those of a corpus, by a suffix array.

A suffix array (Manber and Myers, 1993) lists all suffixes of a text in lexicographic order. The
longest prefix of a query that occurs anywhere in the text is its common prefix with one of the two
neighbors of its position in that order, found by bisection. This is exact for all lengths, and no
slower for repetitive text such as music (unlike a table of k-grams: the codes of one silent second
occur a million times). The array is computed by libdivsufsort (pydivsufsort).

The length of a run of codes is weak evidence: silence and held notes are runs of one code. Its
information content in bits under the corpus' own statistics of pairs of codes is better: a run of b
bits occurs by chance about n * 2**-b times in n codes.

T text of n codes, Q query of m codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

END = 0xFFFF  # follows each track in T, so that no run spans two tracks
_NONE = 0xFFFE  # follows Q, and equals no code
_STEP = 16  # codes compared at a time
_PRIOR = 32.0  # pseudo-counts of each code, distributed over its successors by their frequency
_BLOCK = 1 << 16  # positions of Q that are bisected at once


@dataclass(frozen=True)
class Runs:
    """Common runs of a query and the corpus, none of which contains another.

    Attributes:
      start, length: int64 [r], codes of the query.
      track, offset: int64 [r], start of the run in the corpus (one of possibly many).
      bits: float64 [r], information content.
    """

    start: np.ndarray
    length: np.ndarray
    track: np.ndarray
    offset: np.ndarray
    bits: np.ndarray


class CodeIndex:
    """Indexes the codes of many tracks by the order of their suffixes: 6 bytes per code.

    Attributes:
      text: uint16 [n], all tracks, each followed by `END`.
      starts: int64 [tracks + 1], start of each in `text`.
      size: number of codes of the codebook.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray, order: np.ndarray, size: int):
        self.text, self.starts, self.size, self._order = text, starts, size, order

    @classmethod
    def build(cls, tracks: Sequence[np.ndarray], size: int) -> "CodeIndex":
        """Builds an index in which track i is `tracks[i]`, codes [time] below `size`.

        Raises:
          ValueError: the codebook is too large for 16 bits.
        """
        from pydivsufsort import divsufsort

        if size > _NONE:
            raise ValueError(f"a codebook of {size} codes does not fit; {_NONE} do")
        starts = np.cumsum([0, *(len(track) + 1 for track in tracks)])
        text = np.full(starts[-1], END, np.uint16)
        for start, track in zip(starts, tracks, strict=False):
            text[start : start + len(track)] = track
        order = divsufsort(text) if len(text) else np.zeros(0, np.int32)
        return cls(text, starts, order, size)

    def save(self, folder: Path) -> None:
        """Writes the three arrays of the index."""
        for name, array in (("text", self.text), ("starts", self.starts), ("order", self._order)):
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path, size: int) -> "CodeIndex":
        """Opens the files of `save` as memory maps."""
        text, order = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("text", "order"))
        return cls(text, np.load(folder / "starts.npy"), order, size)

    def track(self, i: int) -> np.ndarray:
        """Returns the codes of track `i`, uint16 [time]."""
        return self.text[self.starts[i] : self.starts[i + 1] - 1]

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the track, and the code within it, of positions in `text`."""
        track = np.searchsorted(self.starts, positions, "right") - 1
        return track, positions - self.starts[track]

    def find_longest(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds for each position of Q the longest match that starts there.

        Returns:
          Its length, and its start in `text`, int64 [m] each; the start is arbitrary for length 0.
        """
        padded = np.concatenate([query.astype(np.uint16), np.full(1, _NONE, np.uint16)])
        matches = [
            self._bisect(padded, np.arange(first, min(first + _BLOCK, len(query))))
            for first in range(0, len(query), _BLOCK)
        ]
        if not matches:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        length, start = (np.concatenate(blocks) for blocks in zip(*matches, strict=True))
        return length, start

    def _bisect(self, query: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes `find_longest` for some positions of the padded query at once."""
        low = np.full(len(positions), -1)
        high = np.full(len(positions), len(self.text))
        same_low, same_high = (
            np.zeros_like(low),
            np.zeros_like(low),
        )  # length of the common prefix with each
        for _ in range(len(self.text).bit_length() + 1):
            active = np.nonzero(high - low > 1)[0]
            if not len(active):
                break
            middle = (low[active] + high[active]) // 2
            suffix = self._order[middle].astype(np.int64)
            same = np.minimum(same_low[active], same_high[active])
            same, below = self._compare(query, positions[active], suffix, same)
            down, up = active[below], active[~below]
            low[down], same_low[down] = middle[below], same[below]
            high[up], same_high[up] = middle[~below], same[~below]
        neighbor = np.where(same_low >= same_high, low, high)
        neighbor = np.clip(neighbor, 0, max(len(self.text) - 1, 0))
        start = self._order[neighbor].astype(np.int64) if len(self.text) else np.zeros_like(low)
        return np.maximum(same_low, same_high), start

    def _compare(
        self, query: np.ndarray, position: np.ndarray, suffix: np.ndarray, same: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the length of the common prefix, and whether the suffix of T sorts first.

        The first `same` codes are known to be equal.
        """
        same, last = same.copy(), len(self.text) - 1
        below = np.zeros(len(position), bool)
        rows, steps = np.arange(len(position)), np.arange(_STEP)
        while len(rows):
            # Both are extended by repeating their last codes, END and _NONE, which differ.
            text_codes = self.text[np.minimum((suffix[rows] + same[rows])[:, None] + steps, last)]
            query_codes = query[
                np.minimum((position[rows] + same[rows])[:, None] + steps, len(query) - 1)
            ]
            unequal = text_codes != query_codes
            first = np.where(unequal.any(axis=1), unequal.argmax(axis=1), _STEP)
            same[rows] += first
            ended = first < _STEP
            cell = np.nonzero(ended)[0], first[ended]
            below[rows[ended]] = text_codes[cell] < query_codes[cell]
            rows = rows[~ended]
        return same, below

    def find_runs(self, query: np.ndarray, min_bits: float = 0.0) -> Runs:
        """Finds the runs of `query`, codes [m], in the corpus that have `min_bits` or more."""
        length, text_start = self.find_longest(query)
        begins = length > 0
        begins[1:] &= length[1:] > length[:-1] - 1  # others are part of the previous run
        start = np.nonzero(begins)[0]
        length, text_start = length[start], text_start[start]
        total = np.concatenate([[0.0], np.cumsum(self._compute_information(query))])
        bits = total[start + length] - total[start]
        keep = bits >= min_bits
        track, offset = self.locate(text_start[keep])
        return Runs(start[keep], length[keep], track, offset, bits[keep])

    def compute_covered_share(self, query: np.ndarray, min_bits: float) -> float:
        """Computes the share of codes [m] that are part of runs of `min_bits` or more."""
        covered = np.zeros(len(query), bool)
        runs = self.find_runs(query, min_bits)
        for start, length in zip(runs.start, runs.length, strict=True):
            covered[start : start + length] = True
        return float(covered.mean()) if len(query) else 0.0

    def _compute_information(self, query: np.ndarray) -> np.ndarray:
        """Computes the bits of each code given the previous one, float64 [m]."""
        single, pairs = self._pair_counts
        code = query.astype(np.int64)
        previous = np.concatenate([code[:1], code[:-1]])
        share = (single[code] + 1.0) / (single.sum() + self.size)
        probability = (pairs[previous, code] + _PRIOR * share) / (single[previous] + _PRIOR)
        probability[:1] = share[:1]
        return -np.log2(probability)

    @property
    def uses(self) -> np.ndarray:
        """Returns the number of occurrences of each code in the corpus, int64 [size]."""
        return self._pair_counts[0]

    @cached_property
    def _pair_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of occurrences of each code [size] and of each pair [size, size]."""
        single = np.zeros(self.size, np.int64)
        pairs = np.zeros(self.size * self.size, np.int64)
        for first in range(0, len(self.text), 1 << 24):
            block = self.text[first : first + (1 << 24) + 1].astype(np.int64)
            head = block[: 1 << 24]
            single += np.bincount(head[head != END], minlength=self.size)
            inside = (block[:-1] != END) & (block[1:] != END)
            joined = block[:-1][inside] * self.size + block[1:][inside]
            pairs += np.bincount(joined, minlength=len(pairs))
        return single, pairs.reshape(self.size, self.size)
