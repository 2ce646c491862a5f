"""Passages of a sound that are recordings of a corpus: landmarks say where, waveforms say whether.

The landmarks of `fingerprint` name the few places of the corpus that an excerpt of `WINDOW` seconds
may be from. A real copy is the same waveform there: through MP3 at 64 kbit/s, or in noise 10 dB
below it, the correlation of the two is far above that of tracks with the same drums at the same
tempo, which share landmarks. A copy that a model made of codes keeps the landmarks but not always
the waveform: many landmarks are evidence of their own. See docs/audit.md for what was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soxr

from jukejax.analysis.fingerprint import (
    FRAMES_PER_SECOND,
    SAMPLE_RATE,
    Index,
    Landmarks,
    extract_landmarks,
)

WINDOW = 3  # seconds
CANDIDATES, LEAST_VOTES = 12, 4  # places to compare waveforms at; chance gives 3 votes
LOWEST_HZ = 200.0  # compared above it: kicks and basses of one tempo are alike in many tracks
SLACK = 0.06  # seconds around a place: landmarks are exact to two frames, 0.046 s
SURE = 0.9  # a correlation at which no other place needs to be looked at
OWN_SHARE = 0.5  # of a window's correlation, which a second of it needs to count as the same

Read = Callable[[int, int, int], np.ndarray]


@dataclass(frozen=True)
class Hit:
    """An excerpt and a place in the corpus that it may be from.

    Attributes:
      second: where the excerpt begins.
      track, offset_seconds: where in the corpus the excerpt begins.
      votes: landmarks in common.
      correlation: of the waveforms, 0 to 1.
      heard: (first, last) second of the sound in which there are landmarks in common.
      same: seconds of the sound in which the waveforms correlate.
    """

    second: int
    track: int
    offset_seconds: float
    votes: int
    correlation: float
    heard: tuple[float, float]
    same: tuple[int, ...]


class Recordings:
    """The recordings of a corpus.

    Args:
      index: of their landmarks.
      read: (track, sample, count) -> float32 [count] mono at `sample_rate`; zeros beyond its ends.
    """

    def __init__(self, index: Index, read: Read, sample_rate: int = 44100):
        self._index, self._read, self._rate = index, read, sample_rate

    def find(self, mono: np.ndarray, starts: range | None = None) -> list[Hit]:
        """The best hit by votes, and the best by correlation, for the excerpts of a sound.

        Args:
          mono: float [time] at `sample_rate`.
          starts: seconds at which excerpts begin; by default each that has one behind it.
        """
        sound = soxr.resample(np.asarray(mono, np.float32), self._rate, SAMPLE_RATE, quality="HQ")
        marks = extract_landmarks(sound, SAMPLE_RATE, excerpt=True)
        if starts is None:
            starts = range(max(round(len(sound) / SAMPLE_RATE) - WINDOW, 0) + 1)
        return [hit for second in starts for hit in self._excerpt(sound, marks, second)]

    def _excerpt(self, sound: np.ndarray, marks: Landmarks, second: int) -> list[Hit]:
        piece = sound[second * SAMPLE_RATE : (second + WINDOW) * SAMPLE_RATE]
        hits: list[Hit] = []
        query = _within(marks, second)
        for match in self._index.find_matches(query, min_votes=LEAST_VOTES, limit=CANDIDATES):
            correlation, lag, by_second = self._correlate(piece, match.track, match.offset_seconds)
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
        kept = {}  # the one may be the other
        for value in ("votes", "correlation"):
            if hits:
                best = max(hits, key=lambda hit: getattr(hit, value))
                kept[id(best)] = best
        return list(kept.values())

    def _correlate(
        self, piece: np.ndarray, track: int, offset: float
    ) -> tuple[float, float, np.ndarray]:
        """Correlation with the track about `offset`, lag in seconds, correlation of each second."""
        slack = round(SLACK * self._rate)
        count = round(len(piece) / SAMPLE_RATE * self._rate) + 2 * slack
        there = self._read(track, round(offset * self._rate) - slack, count)
        there = soxr.resample(there, self._rate, SAMPLE_RATE, quality="HQ")
        there, piece = _weighted(_high(there), _high(piece))
        count = len(there) - len(piece) + 1
        if count < 1:
            return 0.0, 0.0, np.zeros(1)
        product = scipy.signal.correlate(there, piece, "valid", method="fft")
        energy = np.concatenate([[0.0], np.cumsum(np.square(there, dtype=np.float64))])
        energy = (energy[len(piece) :] - energy[: -len(piece)]) * np.square(piece).sum()
        likeness = np.abs(product) / np.sqrt(energy + 1e-12)  # a copy may be turned over
        lag = int(likeness.argmax())
        ends = range(0, max(len(piece) - SAMPLE_RATE // 2, 1), SAMPLE_RATE)
        there = there[lag : lag + len(piece)]
        seconds = [_likeness(piece[i : i + SAMPLE_RATE], there[i : i + SAMPLE_RATE]) for i in ends]
        return float(likeness[lag]), lag / SAMPLE_RATE - SLACK, np.array(seconds)


def _within(marks: Landmarks, second: int) -> Landmarks:
    """The landmarks of an excerpt that begins at a second, in its own time."""
    first, last = (round(s * FRAMES_PER_SECOND) for s in (second, second + WINDOW))
    low, high = np.searchsorted(marks.times, (first, last))
    return Landmarks(marks.hashes[low:high], marks.times[low:high] - first, last - first)


def _high(sound: np.ndarray) -> np.ndarray:
    """What lies above `LOWEST_HZ`."""
    sections = scipy.signal.butter(4, LOWEST_HZ, "high", fs=SAMPLE_RATE, output="sos")
    return scipy.signal.sosfilt(sections, sound).astype(np.float32)


def _weighted(original: np.ndarray, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, louder where the original is loud: noise added to a copy counts for less.

    The weight is the fourth root of the original's power spectrum, in 257 taps.
    """
    _, power = scipy.signal.welch(original, nperseg=512)
    weight = (power / max(power.max(), 1e-20)) ** 0.25
    taps = scipy.signal.firwin2(257, np.linspace(0, 1, len(weight)), weight)
    return tuple(scipy.signal.fftconvolve(sound, taps, "same") for sound in (original, piece))


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(np.dot(a, b)) / np.sqrt(np.dot(a, a) * np.dot(b, b) + 1e-12))
