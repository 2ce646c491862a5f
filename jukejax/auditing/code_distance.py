"""The fragments of a corpus that sound most like a passage, by the distance of codebook vectors.

A model that copies does so with errors: a code in ten is another one that sounds the same, and no
long run is exact. What is compared is windows of one, three and nine seconds, each with its best
fragment wherever that begins: first coarsely, by the means of `POOL` codes in the few directions in
which the codebook differs most, for windows of one second on two grids; then code by code, at every
shift, around the best places.

The measure is `nearness`, 1 less the mean squared distance over twice the window's own variance: 1
for the same codes, 0 for two passages that have no more in common than two moments of one. A window
that hardly moves (silence, a held note) is near to much, and has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jukejax.analysis.code_index import CodeIndex

WINDOWS = (1, 3, 9)  # seconds
POOL = 32  # codes
DIRECTIONS = 16
PHASES = (0, POOL // 2)  # codes: where the grid of the coarse search begins
CANDIDATES = 4  # places for each second, each of another part of the corpus
QUIET = 0.05  # of the codebook's variance as it is used: windows that move less have no nearness
_SPARSE = 8  # one code in so many is enough to tell where the best fragment begins
_BLOCK = 8192  # coarse places worked on at a time


@dataclass(frozen=True)
class Nearest:
    """The best fragment for each window of one length; row s is the window that begins at second s.

    Attributes:
      nearness: float [seconds]; -inf where the window is not to be compared.
      at: int64 [seconds], the place of the fragment in `CodeIndex.text`.
      by_second: float [seconds, length], nearness of each second of the window to its like there.
    """

    nearness: np.ndarray
    at: np.ndarray
    by_second: np.ndarray


class Neighbours:
    """Searches the codes of an index by sound.

    Args:
      codebook: float [size, dimensions].
      second: codes in a second.
    """

    def __init__(self, index: CodeIndex, codebook: np.ndarray, second: float):
        self._index, self._second = index, second
        uses = index.uses / max(index.uses.sum(), 1)
        centred = np.asarray(codebook, np.float64)
        centred = centred - uses @ centred
        self._vectors = centred.astype(np.float32)
        self._variance = float(uses @ np.square(centred).sum(axis=1))
        covariance = (centred * uses[:, None]).T @ centred
        self._basis = np.linalg.eigh(covariance)[1][:, ::-1][:, :DIRECTIONS]
        self._short = (centred @ self._basis).astype(np.float32)  # [size, DIRECTIONS]

    @cached_property
    def _distance(self) -> np.ndarray:
        """float32 [size + 1, size], squared; the last row is that of the end of a track."""
        squares = np.square(self._vectors).sum(axis=1)
        distance = squares[:, None] + squares - 2 * self._vectors @ self._vectors.T
        end = np.full((1, len(squares)), np.inf, np.float32)  # no fragment crosses it
        return np.concatenate([np.maximum(distance, 0), end])

    @cached_property
    def _pooled(self) -> np.ndarray:
        """float32 [len(text) // POOL, DIRECTIONS], means on the coarse grid."""
        count = len(self._index.text) // POOL
        pooled = np.empty((count, self._short.shape[1]), np.float32)
        short = np.concatenate([self._short, np.zeros((1, pooled.shape[1]), np.float32)])
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            codes = np.minimum(self._index.text[first * POOL : last * POOL], len(self._short))
            pooled[first:last] = short[codes].reshape(last - first, POOL, -1).mean(axis=1)
        return pooled

    def nearest(self, query: np.ndarray) -> dict[int, Nearest]:
        """For codes [m]: the best fragment for each window of each of `WINDOWS` seconds."""
        seconds = int(len(query) / self._second)
        starts = np.round(np.arange(seconds) * self._second).astype(int)
        places = self._coarse(query, starts)  # [seconds, candidates]
        found = {}
        for length in WINDOWS:
            best = Nearest(
                np.full(seconds, -np.inf),
                np.zeros(seconds, np.int64),
                np.full((seconds, length), -np.inf),
            )
            for s in range(seconds - length + 1):
                window = query[starts[s] : starts[s] + round(length * self._second)]
                lead = starts[s : s + length] - starts[s]  # codes from the window's start
                near = np.unique(places[s : s + length] - lead[:, None])
                best.nearness[s], best.at[s], each = self._fine(window, near)
                best.by_second[s, : len(each)] = each
            found[length] = best
        return found

    def _coarse(self, query: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """int64 [seconds, n]: where in the text a second of the query may have its like."""
        frames = int(self._second) // POOL
        wanted, phases = [], []
        for phase in PHASES:
            for start in starts:
                codes = query[start + phase : start + phase + frames * POOL]
                codes = np.pad(codes, (0, frames * POOL - len(codes)), mode="edge")
                wanted.append(self._short[codes].reshape(frames, POOL, -1).mean(axis=1).ravel())
                phases.append(phase)
        count = len(self._pooled) - frames + 1
        if count < 1 or not wanted:
            return np.zeros((len(starts), 0), np.int64)
        wanted, phases = np.array(wanted), np.array(phases)
        best, places = self._search(wanted, frames, count)
        places = (places * POOL - phases[:, None]).reshape(len(PHASES), len(starts), -1)
        best = best.reshape(len(PHASES), len(starts), -1)
        places, best = (np.concatenate(list(part), axis=1) for part in (places, best))
        order = np.argsort(best, axis=1)[:, :CANDIDATES]
        return np.take_along_axis(places, order, axis=1)

    def _search(self, wanted: np.ndarray, frames: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distance (but for a constant of the row) and frame of the best places of each of
        `wanted` [rows, frames * DIRECTIONS], float32; the corpus has `count` places to begin at.

        The best of each block of the corpus is a candidate: neighbours would all name one place.
        """
        block = max(min(_BLOCK, count // 16), 1)
        windows = np.lib.stride_tricks.sliding_window_view(self._pooled, frames, axis=0)
        best = np.full((len(wanted), CANDIDATES), np.inf, np.float32)
        places = np.zeros((len(wanted), CANDIDATES), np.int64)
        rows = np.arange(len(wanted))
        for first in range(0, count, block):
            part = windows[first : min(first + block, count)].transpose(0, 2, 1)
            part = part.reshape(len(part), -1)  # [block, frames * DIRECTIONS]
            score = wanted @ part.T
            score *= -2
            score += np.square(part).sum(axis=1)
            at = score.argmin(axis=1)
            value, worst = score[rows, at], best.argmax(axis=1)
            better = value < best[rows, worst]
            best[rows[better], worst[better]] = value[better]
            places[rows[better], worst[better]] = first + at[better]
        return best, places

    def _fine(self, window: np.ndarray, places: Sequence[int]) -> tuple[float, int, np.ndarray]:
        """Nearness and place of the best fragment about any of `places`, nearness of each second.

        Every shift of each place is tried with one code in `_SPARSE`, the best one with all.
        """
        vectors = self._vectors[window]
        variance = float(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean())
        if variance < QUIET * self._variance:
            return -np.inf, 0, np.zeros(0)
        shifts = np.arange(-POOL // 2, POOL // 2 + 1)
        tried = (np.asarray(places, np.int64)[:, None] + shifts).ravel()
        tried = tried[(tried >= 0) & (tried <= len(self._index.text) - len(window))]
        if not len(tried):
            return -np.inf, 0, np.zeros(0)
        sparse = np.arange(0, len(window), _SPARSE)
        mean = self._between(tried[:, None] + sparse, window[sparse]).mean(axis=1)
        best = int(tried[mean.argmin()])
        each = self._between(best + np.arange(len(window)), window)
        cuts = np.round(np.arange(0, len(window) - 1, self._second)).astype(int)
        seconds = np.add.reduceat(each, cuts) / np.diff([*cuts, len(window)])
        return 1 - float(each.mean()) / (2 * variance), best, 1 - seconds / (2 * variance)

    def _between(self, places: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Squared distance of the codes at `places` of the text from `codes`."""
        there = np.minimum(self._index.text[places], len(self._vectors)).astype(np.int64)
        return self._distance.ravel().take(there * len(self._vectors) + codes)
