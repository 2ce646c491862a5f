"""What a track's codes have in common with those of a corpus, exactly: a suffix array.

A suffix array (Manber and Myers, 1993) is the order of all suffixes of a text. The longest piece of
a query that occurs anywhere in the text is the common beginning with one of the two neighbours
between which the query would stand in that order, found by bisection: exact, whatever the lengths,
and no slower where the text repeats itself, as music does (a table of k-grams is: the codes of one
silent second come up a million times). The array is libdivsufsort's, by pydivsufsort.

How long a run of codes says little by itself: silence and held notes are runs of one code. What
counts is its surprise in bits under the corpus' own statistics of pairs of codes. Chance gives a
run of b bits about n * 2**-b times in n codes.

T text of n codes, Q query of m codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

END = 0xFFFF  # stands behind each track in T, so that no run crosses into the next
_NONE = 0xFFFE  # stands behind Q: equal to nothing
_STEP = 16  # codes compared at a time
_PRIOR = 32.0  # as if each code had come so often more, followed by the shares of all codes
_BLOCK = 1 << 16  # places of Q looked for at a time


@dataclass(frozen=True)
class Runs:
    """Runs that a query and the corpus have in common; none lies within another.

    Attributes:
      start, length: int64 [r], codes of the query.
      track, offset: int64 [r], where the run begins in the corpus (one place of possibly many).
      bits: float64 [r], how surprising it is.
    """

    start: np.ndarray
    length: np.ndarray
    track: np.ndarray
    offset: np.ndarray
    bits: np.ndarray


class CodeIndex:
    """The codes of many tracks and the order of their suffixes: 6 bytes a code.

    Attributes:
      text: uint16 [n], all tracks, `END` behind each.
      starts: int64 [tracks + 1], where each begins in it.
      size: of the codebook.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray, order: np.ndarray, size: int):
        self.text, self.starts, self.size, self._order = text, starts, size, order

    @classmethod
    def build(cls, tracks: Sequence[np.ndarray], size: int) -> "CodeIndex":
        """An index in which track i is `tracks[i]`, codes [time] below `size`."""
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
        """Writes three arrays."""
        for name, array in (("text", self.text), ("starts", self.starts), ("order", self._order)):
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path, size: int) -> "CodeIndex":
        """Opens what `save` wrote; nothing is read before it is needed."""
        text, order = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("text", "order"))
        return cls(text, np.load(folder / "starts.npy"), order, size)

    def track(self, i: int) -> np.ndarray:
        """uint16 [time], the codes of track `i`."""
        return self.text[self.starts[i] : self.starts[i + 1] - 1]

    def place(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Track, and code within it, of places in `text`."""
        track = np.searchsorted(self.starts, at, "right") - 1
        return track, at - self.starts[track]

    def longest(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place of Q: length of the longest piece from there on that is in T, and where.

        Returns:
          int64 [m] each; the second means nothing where the first is 0.
        """
        padded = np.concatenate([query.astype(np.uint16), np.full(1, _NONE, np.uint16)])
        found = [
            self._bisect(padded, np.arange(first, min(first + _BLOCK, len(query))))
            for first in range(0, len(query), _BLOCK)
        ]
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        length, at = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return length, at

    def _bisect(self, query: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`longest` for some places of the padded query, all at once."""
        low = np.full(len(places), -1)
        high = np.full(len(places), len(self.text))
        same_low, same_high = np.zeros_like(low), np.zeros_like(low)  # codes in common with each
        for _ in range(len(self.text).bit_length() + 1):
            open_ = np.nonzero(high - low > 1)[0]
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) // 2
            suffix = self._order[middle].astype(np.int64)
            same = np.minimum(same_low[open_], same_high[open_])
            same, below = self._compare(query, places[open_], suffix, same)
            down, up = open_[below], open_[~below]
            low[down], same_low[down] = middle[below], same[below]
            high[up], same_high[up] = middle[~below], same[~below]
        side = np.where(same_low >= same_high, low, high)
        there = np.clip(side, 0, max(len(self.text) - 1, 0))
        at = self._order[there].astype(np.int64) if len(self.text) else np.zeros_like(low)
        return np.maximum(same_low, same_high), at

    def _compare(
        self, query: np.ndarray, place: np.ndarray, suffix: np.ndarray, same: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes in common, `same` of them known before, and whether the suffix comes first."""
        same, last = same.copy(), len(self.text) - 1
        below = np.zeros(len(place), bool)
        rows, steps = np.arange(len(place)), np.arange(_STEP)
        while len(rows):
            # Beyond their ends both go on with their last code: END and _NONE, which are unequal.
            theirs = self.text[np.minimum((suffix[rows] + same[rows])[:, None] + steps, last)]
            mine = query[np.minimum((place[rows] + same[rows])[:, None] + steps, len(query) - 1)]
            unequal = theirs != mine
            first = np.where(unequal.any(axis=1), unequal.argmax(axis=1), _STEP)
            same[rows] += first
            ended = first < _STEP
            at = np.nonzero(ended)[0], first[ended]
            below[rows[ended]] = theirs[at] < mine[at]
            rows = rows[~ended]
        return same, below

    def runs(self, query: np.ndarray, min_bits: float = 0.0) -> Runs:
        """Runs of `query`, codes [m], that are in the corpus and are worth `min_bits` or more."""
        length, at = self.longest(query)
        begins = length > 0
        begins[1:] &= length[1:] > length[:-1] - 1  # else the run that began before goes on
        start = np.nonzero(begins)[0]
        length, at = length[start], at[start]
        total = np.concatenate([[0.0], np.cumsum(self._surprise(query))])
        bits = total[start + length] - total[start]
        keep = bits >= min_bits
        track, offset = self.place(at[keep])
        return Runs(start[keep], length[keep], track, offset, bits[keep])

    def share(self, query: np.ndarray, min_bits: float) -> float:
        """The share of codes [m] that lie in runs worth `min_bits` or more."""
        covered = np.zeros(len(query), bool)
        runs = self.runs(query, min_bits)
        for start, length in zip(runs.start, runs.length, strict=True):
            covered[start : start + length] = True
        return float(covered.mean()) if len(query) else 0.0

    def _surprise(self, query: np.ndarray) -> np.ndarray:
        """float64 [m], bits of each code after the one before it."""
        single, pairs = self._counts
        after = query.astype(np.int64)
        before = np.concatenate([after[:1], after[:-1]])
        share = (single[after] + 1.0) / (single.sum() + self.size)
        chance = (pairs[before, after] + _PRIOR * share) / (single[before] + _PRIOR)
        chance[:1] = share[:1]
        return -np.log2(chance)

    @property
    def uses(self) -> np.ndarray:
        """int64 [size], how often each code comes up in the corpus."""
        return self._counts[0]

    @cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How often each code [size], and each pair [size, size], comes up."""
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
