"""Search for passages of a sound in the recordings of a corpus, by landmarks and waveforms.

The landmarks of `fingerprint` determine a few positions in the corpus for an excerpt of `WINDOW`
seconds. The waveform of a copy is equal there: through MP3 at 64 kbit/s, or in noise 10 dB below
it, the correlation of the two is far above that of tracks with the same drums at the same tempo,
which have common landmarks. A copy that was generated as codes has the landmarks, but not always
the waveform: many landmarks are evidence by themselves. See docs/audit.md for the measurements.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soxr

from jukejax.analysis.fingerprint import (
    FRAMES_PER_SECOND,
    SAMPLE_RATE,
    Index,
    Landmarks,
    Match,
    extract_landmarks,
    resample_mono,
)

WINDOW = 3  # seconds
# Largest number of the positions whose waveforms are compared, and their least votes; chance gives
# 3.
CANDIDATES, LEAST_VOTES = 12, 4
LOWEST_HZ = 200.0  # high-pass: kicks and basses of one tempo are similar in many tracks
SLACK = 0.06  # seconds around a position: landmarks are exact to two frames, 0.046 s
SURE = 0.9  # correlation above which no other position is compared
OWN_SHARE = 0.5  # least share of a window's correlation or nearness that a second of it must reach

Read = Callable[[int, int, int], np.ndarray]


@dataclass(frozen=True)
class Hit:
    """An excerpt and its possible position in the corpus.

    Attributes:
      second: start of the excerpt in the sound.
      track, offset_seconds: start of the excerpt in the corpus.
      votes: landmarks in common.
      correlation: of the waveforms, 0 to 1.
      matched: (first, last) second of the sound with landmarks in common.
      same: seconds of the sound in which the waveforms correlate.
    """

    second: int
    track: int
    offset_seconds: float
    votes: int
    correlation: float
    matched: tuple[float, float]
    same: tuple[int, ...]


class Recordings:
    """Searches the recordings of a corpus.

    Args:
      index: of their landmarks.
      read: (track, sample, count) -> float32 [count] mono at `sample_rate`; zeros beyond its ends.
    """

    def __init__(self, index: Index, read: Read, sample_rate: int = 44100):
        self._index, self._read, self._rate = index, read, sample_rate

    def find_hits(
        self, mono: np.ndarray | Iterable[np.ndarray], starts: range | None = None
    ) -> list[Hit]:
        """Finds the best hit by votes and the best by correlation for each excerpt of a sound.

        Args:
          mono: float [time] at `sample_rate`, or its blocks.
          starts: start seconds of excerpts; by default all with a complete excerpt.
        """
        sound = resample_mono(mono, self._rate)
        marks = extract_landmarks(sound, SAMPLE_RATE, excerpt=True)
        if starts is None:
            starts = range(max(round(len(sound) / SAMPLE_RATE) - WINDOW, 0) + 1)
        return [hit for second in starts for hit in self._match_excerpt(sound, marks, second)]

    def _match_excerpt(self, sound: np.ndarray, marks: Landmarks, second: int) -> list[Hit]:
        excerpt = sound[second * SAMPLE_RATE : (second + WINDOW) * SAMPLE_RATE]
        hits: list[Hit] = []
        query = _select_landmarks(marks, second)
        for match in self._index.find_matches(query, min_votes=LEAST_VOTES, limit=CANDIDATES):
            correlation, lag, by_second = self._correlate(excerpt, match)
            same = by_second >= OWN_SHARE * correlation
            hits.append(
                Hit(
                    second,
                    match.track,
                    match.offset_seconds + lag,
                    match.votes,
                    correlation,
                    (second + match.start_seconds, second + match.end_seconds),
                    tuple(second + int(i) for i in np.nonzero(same)[0]),
                )
            )
            if correlation >= SURE:
                break
        if not hits:
            return []
        by_votes = max(hits, key=lambda hit: hit.votes)
        by_correlation = max(hits, key=lambda hit: hit.correlation)
        return [by_votes] if by_votes is by_correlation else [by_votes, by_correlation]

    def _correlate(self, excerpt: np.ndarray, match: Match) -> tuple[float, float, np.ndarray]:
        """Compares an excerpt with the corpus around a position of common landmarks.

        Returns:
          The highest correlation over all lags, its lag in seconds, and the correlation of each
          second at that lag.
        """
        slack = round(SLACK * self._rate)
        count = round(len(excerpt) / SAMPLE_RATE * self._rate) + 2 * slack
        original = self._read(match.track, round(match.offset_seconds * self._rate) - slack, count)
        original = soxr.resample(original, self._rate, SAMPLE_RATE, quality="HQ")
        original, excerpt = _weight_by_power(_remove_bass(original), _remove_bass(excerpt))
        if len(original) < len(excerpt):
            return 0.0, 0.0, np.zeros(1)
        product = scipy.signal.correlate(original, excerpt, "valid", method="fft")
        energy = np.concatenate([[0.0], np.cumsum(np.square(original, dtype=np.float64))])
        energy = (energy[len(excerpt) :] - energy[: -len(excerpt)]) * np.square(excerpt).sum()
        correlation = np.abs(product) / np.sqrt(energy + 1e-12)  # a copy may be inverted
        lag = int(correlation.argmax())
        starts = range(0, max(len(excerpt) - SAMPLE_RATE // 2, 1), SAMPLE_RATE)
        original = original[lag : lag + len(excerpt)]
        by_second = [
            _correlation_at_lag_0(excerpt[i : i + SAMPLE_RATE], original[i : i + SAMPLE_RATE])
            for i in starts
        ]
        return float(correlation[lag]), lag / SAMPLE_RATE - SLACK, np.array(by_second)


def _select_landmarks(marks: Landmarks, second: int) -> Landmarks:
    """Returns the landmarks of the excerpt that begins at a second, in the excerpt's own time."""
    first, last = (round(s * FRAMES_PER_SECOND) for s in (second, second + WINDOW))
    low, high = np.searchsorted(marks.times, (first, last))
    return Landmarks(marks.hashes[low:high], marks.times[low:high] - first, last - first)


def _remove_bass(sound: np.ndarray) -> np.ndarray:
    """Removes frequencies below `LOWEST_HZ`."""
    sections = scipy.signal.butter(4, LOWEST_HZ, "high", fs=SAMPLE_RATE, output="sos")
    return scipy.signal.sosfilt(sections, sound).astype(np.float32)


def _weight_by_power(original: np.ndarray, excerpt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Emphasizes frequencies at which the original is loud in both, which reduces noise.

    The weight is the fourth root of the original's power spectrum, in 257 taps.
    """
    _, power = scipy.signal.welch(original, nperseg=512)
    weight = (power / max(power.max(), 1e-20)) ** 0.25
    taps = scipy.signal.firwin2(257, np.linspace(0, 1, len(weight)), weight)
    original, excerpt = (
        scipy.signal.fftconvolve(sound, taps, "same") for sound in (original, excerpt)
    )
    return original, excerpt


def _correlation_at_lag_0(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(np.dot(a, b)) / np.sqrt(np.dot(a, a) * np.dot(b, b) + 1e-12))
