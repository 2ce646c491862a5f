"""Times of words from the attention of codes to letters.

The letters of a song are sung in order. The monotone path is the sequence of letters, one for each
code, that never goes back and collects the most attention.

Dimensions: H heads, T codes, N letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMOOTHING = 0.05  # seconds over which attention is averaged
TOLERANCE = 0.3  # seconds
ONSET = 0.5  # share of the largest attention to a word at which it begins and ends


@dataclass(frozen=True)
class TimedWord:
    """A word of the lyrics with its times in seconds.

    Attributes:
      confidence: mean attention to its letters between them, 0 to 1.
    """

    word: str
    start: float
    end: float
    confidence: float


def smooth_attention(attention: np.ndarray, seconds_per_code: float) -> np.ndarray:
    """Averages attention [T, N] over `SMOOTHING` in time."""
    width = max(round(SMOOTHING / seconds_per_code) // 2 * 2 + 1, 1)
    sums = np.cumsum(np.pad(attention, ((width // 2 + 1, width // 2), (0, 0))), axis=0)
    counts = np.minimum(np.arange(len(attention)) + width // 2 + 1, len(attention))
    counts = counts - np.maximum(np.arange(len(attention)) - width // 2, 0)
    return (sums[width:] - sums[:-width])[: len(attention)] / counts[:, None]


def find_path(attention: np.ndarray) -> np.ndarray:
    """Finds the monotone path through attention [T, N], int32 [T]."""
    length, letters = attention.shape
    origins = np.zeros((length, letters), np.int32)  # letter of the code before
    index = np.arange(letters)
    best = np.zeros(letters)
    for code, row in enumerate(attention):
        reachable = np.maximum.accumulate(best)
        origins[code] = np.maximum.accumulate(np.where(best >= reachable, index, 0))
        best = reachable + row
    path = np.zeros(length, np.int32)
    letter = int(np.argmax(best))
    for code in range(length - 1, -1, -1):
        path[code] = letter
        letter = origins[code, letter]
    return path


def measure_monotonicity(attention: np.ndarray) -> np.ndarray:
    """Measures how far each head of attention [H, T, N] attends to the letters in their order.

    The measure is the mean attention on the monotone path, less that on the monotone path from the
    last letter to the first: 0 for a head that attends to one letter, or to all alike.

    Returns:
      float64 [H], at most 1.
    """
    forward = _collect_attention(attention)
    return (forward - _collect_attention(attention[:, :, ::-1])) / max(attention.shape[1], 1)


def _collect_attention(attention: np.ndarray) -> np.ndarray:
    """Computes the sum of the attention on the monotone path of each head, [H]."""
    best = np.zeros((attention.shape[0], attention.shape[2]))
    for code in range(attention.shape[1]):
        best = np.maximum.accumulate(best, axis=1) + attention[:, code]
    return best.max(axis=1)


def time_words(
    attention: np.ndarray, words: Sequence[str], letters: Sequence[range], seconds_per_code: float
) -> list[TimedWord]:
    """Finds the times of words.

    A word that the path skips has no length, at the time of the skip.

    Args:
      attention: [T, N].
      letters: of each word, among the N; may be empty.
    """
    if not attention.size:
        return [TimedWord(word, 0.0, 0.0, 0.0) for word in words]
    smooth = smooth_attention(attention, seconds_per_code)
    path = find_path(smooth)
    timed, end = [], 0
    for word, span in zip(words, letters, strict=True):
        first = int(np.searchsorted(path, span.start)) if span else end
        last = int(np.searchsorted(path, span.stop)) if span else end
        confidence = 0.0
        if last > first:
            share = smooth[first:last, span.start : span.stop].sum(axis=1)
            active = np.flatnonzero(share >= ONSET * share.max())
            first, last = first + int(active[0]), first + int(active[-1]) + 1
            confidence = float(share[active[0] : active[-1] + 1].mean())
        start, end = max(first, end), max(last, end)
        timed.append(
            TimedWord(
                word,
                round(start * seconds_per_code, 3),
                round(end * seconds_per_code, 3),
                round(confidence, 4),
            )
        )
    return timed


def spread_words(letters: Sequence[range], total_letters: int, seconds: float) -> list[float]:
    """Returns the start of each word if letters are spread evenly over a track, for comparison."""
    return [span.start / max(total_letters, 1) * seconds for span in letters]


@dataclass(frozen=True)
class TimingErrors:
    """Errors of the starts of words whose times are known.

    Attributes:
      words: number of them.
      median: absolute error in seconds.
      within: share of them with an error of at most `TOLERANCE`.
    """

    words: int
    median: float
    within: float

    @classmethod
    def summarize(cls, errors: np.ndarray) -> "TimingErrors":
        """Summarizes absolute errors in seconds, of one word or more."""
        within = float((errors <= TOLERANCE).mean())
        return cls(len(errors), round(float(np.median(errors)), 4), round(within, 4))
