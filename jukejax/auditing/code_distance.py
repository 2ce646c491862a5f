"""Search for the fragments of a corpus most similar to a passage, by distance of codebook vectors.

Copies of a model have errors: if one code in ten is replaced by a similar one, no long run is
exact. Windows of one, three and nine seconds are compared, each with its best fragment at any
offset: first coarsely, by averages of `POOL` codes in the principal directions of the codebook
(for windows of one second on two grids); then code by code, at every shift around the best
positions.

The measure is the nearness, 1 - d / (2 v), with the mean squared distance d and the window's own
variance v: 1 for equal codes, 0 for passages as different as two random moments of one. It is not
defined for windows with little variance (silence, a held note), which are near to many fragments.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jukejax.analysis.code_index import CodeIndex

WINDOWS = (1, 3, 9)  # seconds
POOL = 32  # codes
DIRECTIONS = 16
PHASES = (0, POOL // 2)  # codes: offsets of the grid of the coarse search
CANDIDATES = 4  # candidates for each second, each from another block of the corpus
QUIET = 0.05  # least variance of a window, as a share of the variance of the corpus
_STRIDE = 8  # codes: every 8th is compared to find the start of the best fragment
_BLOCK = 8192  # coarse positions compared at once


@dataclass(frozen=True)
class Nearest:
    """The best fragments for windows of one length; row s is the window that begins at second s.

    Attributes:
      nearness: float [seconds]; -inf where the window cannot be compared.
      at: int64 [seconds], the position of the fragment in `CodeIndex.text`.
      by_second: float [seconds, length], nearness of each second of the window.
    """

    nearness: np.ndarray
    at: np.ndarray
    by_second: np.ndarray


class Neighbors:
    """Searches the codes of an index by the distance of their codebook vectors.

    Args:
      codebook: float [size, dimensions].
      second: codes in a second.
    """

    def __init__(self, index: CodeIndex, codebook: np.ndarray, second: float):
        self._index, self._second = index, second
        uses = index.uses / max(index.uses.sum(), 1)
        centered = np.asarray(codebook, np.float64)
        centered = centered - uses @ centered
        self._vectors = centered.astype(np.float32)
        self._variance = float(uses @ np.square(centered).sum(axis=1))
        covariance = (centered * uses[:, None]).T @ centered
        self._basis = np.linalg.eigh(covariance)[1][:, ::-1][:, :DIRECTIONS]
        self._short = (centered @ self._basis).astype(np.float32)  # [size, DIRECTIONS]

    @cached_property
    def _distance(self) -> np.ndarray:
        """The squared distances, float32 [size + 1, size]; the last row is for ends of tracks."""
        squares = np.square(self._vectors).sum(axis=1)
        distance = squares[:, None] + squares - 2 * self._vectors @ self._vectors.T
        end = np.full((1, len(squares)), np.inf, np.float32)  # no fragment spans it
        return np.concatenate([np.maximum(distance, 0), end])

    @cached_property
    def _pooled(self) -> np.ndarray:
        """The means on the coarse grid, float32 [len(text) // POOL, DIRECTIONS]."""
        count = len(self._index.text) // POOL
        pooled = np.empty((count, self._short.shape[1]), np.float32)
        short = np.concatenate([self._short, np.zeros((1, pooled.shape[1]), np.float32)])
        for first in range(0, count, _BLOCK):
            last = min(first + _BLOCK, count)
            codes = np.minimum(self._index.text[first * POOL : last * POOL], len(self._short))
            pooled[first:last] = short[codes].reshape(last - first, POOL, -1).mean(axis=1)
        return pooled

    def find_nearest(self, query: np.ndarray) -> dict[int, Nearest]:
        """Finds the best fragment for each window of codes [m], by window length in seconds."""
        seconds = int(len(query) / self._second)
        starts = np.round(np.arange(seconds) * self._second).astype(int)
        places = self._find_candidates(query, starts)  # [seconds, candidates]
        result = {}
        for length in WINDOWS:
            best = Nearest(
                np.full(seconds, -np.inf),
                np.zeros(seconds, np.int64),
                np.full((seconds, length), -np.inf),
            )
            for s in range(seconds - length + 1):
                window = query[starts[s] : starts[s] + round(length * self._second)]
                lead = starts[s : s + length] - starts[s]  # codes from the window's start
                candidates = np.unique(places[s : s + length] - lead[:, None])
                best.nearness[s], best.at[s], by_second = self._refine(window, candidates)
                best.by_second[s, : len(by_second)] = by_second
            result[length] = best
        return result

    def _find_candidates(self, query: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns positions of the text similar to each second of the query, int64 [seconds, n]."""
        frames = int(self._second) // POOL
        means, phases = [], []
        for phase in PHASES:
            for start in starts:
                codes = query[start + phase : start + phase + frames * POOL]
                codes = np.pad(codes, (0, frames * POOL - len(codes)), mode="edge")
                means.append(self._short[codes].reshape(frames, POOL, -1).mean(axis=1).ravel())
                phases.append(phase)
        count = len(self._pooled) - frames + 1
        if count < 1 or not means:
            return np.zeros((len(starts), 0), np.int64)
        distances, places = self._search_blocks(np.array(means), frames, count)
        places = (places * POOL - np.array(phases)[:, None]).reshape(len(PHASES), len(starts), -1)
        distances = distances.reshape(len(PHASES), len(starts), -1)
        places, distances = (np.concatenate(list(rows), axis=1) for rows in (places, distances))
        order = np.argsort(distances, axis=1)[:, :CANDIDATES]
        return np.take_along_axis(places, order, axis=1)

    def _search_blocks(
        self, means: np.ndarray, frames: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best positions of the corpus for each row of `means`.

        Only the best position of each block of the corpus is a candidate, as adjacent positions
        belong to the same fragment.

        Args:
          means: float32 [rows, frames * DIRECTIONS].
          count: possible starts of a window in the corpus.

        Returns:
          Squared distances (up to a constant of the row) and frames, both [rows, CANDIDATES].
        """
        block = max(min(_BLOCK, count // 16), 1)
        windows = np.lib.stride_tricks.sliding_window_view(self._pooled, frames, axis=0)
        best = np.full((len(means), CANDIDATES), np.inf, np.float32)
        places = np.zeros((len(means), CANDIDATES), np.int64)
        rows = np.arange(len(means))
        for first in range(0, count, block):
            corpus = windows[first : min(first + block, count)].transpose(0, 2, 1)
            corpus = corpus.reshape(len(corpus), -1)  # [block, frames * DIRECTIONS]
            score = means @ corpus.T
            score *= -2
            score += np.square(corpus).sum(axis=1)
            at = score.argmin(axis=1)
            value, worst = score[rows, at], best.argmax(axis=1)
            better = value < best[rows, worst]
            best[rows[better], worst[better]] = value[better]
            places[rows[better], worst[better]] = first + at[better]
        return best, places

    def _refine(self, window: np.ndarray, places: np.ndarray) -> tuple[float, int, np.ndarray]:
        """Finds the best fragment around any of `places`.

        Every shift of each position is compared by every `_STRIDE`th code, the best one by all
        codes.

        Returns:
          Its nearness, its position, and the nearness of each second.
        """
        vectors = self._vectors[window]
        variance = float(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean())
        if variance < QUIET * self._variance:
            return -np.inf, 0, np.zeros(0)
        shifts = np.arange(-POOL // 2, POOL // 2 + 1)
        starts = (np.asarray(places, np.int64)[:, None] + shifts).ravel()
        starts = starts[(starts >= 0) & (starts <= len(self._index.text) - len(window))]
        if not len(starts):
            return -np.inf, 0, np.zeros(0)
        sparse = np.arange(0, len(window), _STRIDE)
        mean = self._code_distances(starts[:, None] + sparse, window[sparse]).mean(axis=1)
        best = int(starts[mean.argmin()])
        each = self._code_distances(best + np.arange(len(window)), window)
        cuts = np.round(np.arange(0, len(window) - 1, self._second)).astype(int)
        seconds = np.add.reduceat(each, cuts) / np.diff([*cuts, len(window)])
        return 1 - float(each.mean()) / (2 * variance), best, 1 - seconds / (2 * variance)

    def _code_distances(self, places: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Returns the squared distances of the codes at `places` of the text from `codes`."""
        originals = np.minimum(self._index.text[places], len(self._vectors)).astype(np.int64)
        return self._distance.ravel().take(originals * len(self._vectors) + codes)
