"""Recognising a recording: landmarks of the spectrogram, an index of them, time-consistent votes.

After Wang, "An Industrial-Strength Audio Search Algorithm" (ISMIR 2003). The loudest points of a
spectrogram survive noise, re-encoding and a change of level. Pairs of near peaks (two frequencies
and the time between them) are the landmarks; a passage that is the same recording shares many of
them, all displaced by one and the same time. Speed and pitch must be the same: a record played at
+2 % is another recording to this method.

A frame is `HOP` samples at `SAMPLE_RATE`. NumPy and SciPy only.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import scipy.fft
import scipy.ndimage
import soxr

SAMPLE_RATE = 11025  # Hz at which peaks are looked for: up to 5.5 kHz, what every codec keeps
N_FFT = 2048
HOP = 256
FRAMES_PER_SECOND = SAMPLE_RATE / HOP

LOWEST = 28  # bin, 150 Hz: the kick and bass below say little about which record it is
NEAR_BINS, NEAR_FRAMES = 24, 8  # a peak is the loudest within so many bins and frames either way
FLOOR = 1e-3  # of the loudest point, -60 dB: what is softer is no peak
FAN_OUT = 4  # pairs that start at a peak
MAX_BINS, MIN_FRAMES, MAX_FRAMES = 127, 2, 63  # between the two peaks of a pair

SHIFTS, EXCERPT_FAN_OUT = 4, 8  # for excerpts: see `landmarks`
CELL = 11  # frames, a quarter of a second
CELL_VOTES = 5  # more votes than this in a cell count as this many: one drum hit is no record
MIN_VOTES = 16  # of a match, measured with 3 s excerpts: tests/analysis/test_fingerprint.py
COMMON = 8  # hashes that come up more often than this in each track say nothing

_BLOCK = 4096  # frames worked on at once: memory does not grow with the recording
_BIAS = 1 << 30  # makes offsets positive


@dataclass(frozen=True)
class Landmarks:
    """Pairs of peaks in the order of time.

    Attributes:
      hashes: uint32 [n], bin of the first peak, bins and frames from there to the second.
      times: int32 [n], frame of the first peak.
      frames: length of the recording in frames.
    """

    hashes: np.ndarray
    times: np.ndarray
    frames: int

    def save(self, file: str | os.PathLike | BinaryIO) -> None:
        """Writes an npz."""
        np.savez(file, hashes=self.hashes, times=self.times, frames=self.frames)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Landmarks":
        """Reads what `save` wrote."""
        with np.load(path) as file:
            return cls(file["hashes"], file["times"], int(file["frames"]))


def landmarks(mono: np.ndarray, sample_rate: int = 44100, *, excerpt: bool = False) -> Landmarks:
    """The landmarks of a recording.

    Args:
      mono: float [time].
      excerpt: for a short or damaged piece that is looked for in an index of whole recordings. Its
        frames start anywhere within those of the original, so that peaks are taken at `SHIFTS`
        displacements of a part of a frame, and noise puts peaks between the true ones, so that more
        pairs start at each; six times the work and up to eight times the landmarks.
    """
    mono = np.asarray(mono, np.float32)
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    shifts, fan_out = (SHIFTS, EXCERPT_FAN_OUT) if excerpt else (1, FAN_OUT)
    found = [_pairs(*_peaks(mono[i * HOP // shifts :]), fan_out) for i in range(shifts)]
    packed = np.unique(np.concatenate(found))  # time, then hash
    hashes = (packed & 0xFFFFFFFF).astype(np.uint32)
    return Landmarks(hashes, (packed >> 32).astype(np.int32), _frames(mono))


def _frames(mono: np.ndarray) -> int:
    return max(0, 1 + (len(mono) - N_FFT) // HOP)


def _peaks(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and bins, int64 [n] each, of the loudest points of their surroundings."""
    count, window = _frames(mono), np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    size = (2 * NEAR_FRAMES + 1, 2 * NEAR_BINS + 1)
    found = [np.zeros((3, 0))]
    for start in range(0, count, _BLOCK):
        first, last = max(0, start - NEAR_FRAMES), min(count, start + _BLOCK + NEAR_FRAMES)
        samples = mono[first * HOP : (last - 1) * HOP + N_FFT]
        block = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP] * window
        loudness = np.abs(scipy.fft.rfft(block, axis=1))[:, LOWEST:-1]  # [frames, bins]
        loudest = scipy.ndimage.maximum_filter(loudness, size, mode="constant")
        time, bins = np.nonzero((loudness == loudest) & (loudness > 0))
        peaks = np.stack([time + first, bins + LOWEST, loudness[time, bins]])
        found.append(peaks[:, (peaks[0] >= start) & (peaks[0] < start + _BLOCK)])
    time, bins, loudness = np.concatenate(found, axis=1)
    heard = loudness > FLOOR * loudness.max(initial=0)
    return time[heard].astype(np.int64), bins[heard].astype(np.int64)


def _pairs(time: np.ndarray, bins: np.ndarray, fan_out: int) -> np.ndarray:
    """Each peak with the next `fan_out` peaks in its reach: int64 [n], time << 32 | hash."""
    begun = np.zeros(len(time), int)
    found = [np.zeros(0, np.int64)]
    for step in range(1, len(time)):  # the peak `step` places later
        frames = time[step:] - time[:-step]
        if frames.min() > MAX_FRAMES:
            break
        up = bins[step:] - bins[:-step]
        near = (frames >= MIN_FRAMES) & (frames <= MAX_FRAMES) & (np.abs(up) <= MAX_BINS)
        first = np.nonzero(near & (begun[:-step] < fan_out))[0]
        begun[first] += 1
        hashes = bins[first] << 14 | (up[first] + MAX_BINS) << 6 | frames[first]
        found.append(time[first] << 32 | hashes)
    return np.concatenate(found)


@dataclass(frozen=True)
class Match:
    """A track of the index that a query was found in.

    Attributes:
      track: its place in the index.
      offset_seconds: where in the track the start of the query lies; negative if before it.
      votes: landmarks in common at this offset, each hash once and `CELL_VOTES` a cell at most.
      start_seconds, end_seconds: the part of the query that is in common.
    """

    track: int
    offset_seconds: float
    votes: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Votes:
    """Landmarks that a query and the tracks of an index have in common, one row each.

    Attributes:
      track, offset: int64 [n], the track, and its time less the query's, in frames.
      row: int64 [n], which landmark of the query.
    """

    track: np.ndarray
    offset: np.ndarray
    row: np.ndarray


class Index:
    """Landmarks of many tracks in the order of their hashes; 12 bytes each, 1.7 kB a second."""

    def __init__(self, hashes: np.ndarray, tracks: np.ndarray, times: np.ndarray, count: int):
        self._hashes, self._tracks, self._times, self.count = hashes, tracks, times, count

    @classmethod
    def build(cls, tracks: Sequence[Landmarks]) -> "Index":
        """An index in which track i is `tracks[i]`."""
        hashes = np.concatenate([np.zeros(0, np.uint32), *(track.hashes for track in tracks)])
        times = np.concatenate([np.zeros(0, np.int32), *(track.times for track in tracks)])
        lengths = [len(track.hashes) for track in tracks]
        numbers = np.repeat(np.arange(len(tracks), dtype=np.int32), lengths)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], numbers[order], times[order], len(tracks))

    def save(self, file: str | os.PathLike | BinaryIO) -> None:
        """Writes an npz."""
        arrays = {"hashes": self._hashes, "tracks": self._tracks, "times": self._times}
        np.savez(file, **arrays, count=self.count)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Index":
        """Reads what `save` wrote."""
        with np.load(path) as file:
            return cls(file["hashes"], file["tracks"], file["times"], int(file["count"]))

    def votes(self, query: Landmarks) -> Votes:
        """Everything that the query has in common with any track, at whatever offset."""
        first = np.searchsorted(self._hashes, query.hashes, "left")
        count = np.searchsorted(self._hashes, query.hashes, "right") - first
        count[count > COMMON * max(self.count, 32)] = 0
        row = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(row)) + np.repeat(first - np.cumsum(count) + count, count)
        offset = self._times[place].astype(np.int64) - query.times[row]
        return Votes(self._tracks[place].astype(np.int64), offset, row)

    def match(
        self, query: Landmarks, *, min_votes: int = MIN_VOTES, limit: int = 10
    ) -> list[Match]:
        """The tracks that the query, some seconds of sound, was found in, strongest first.

        Each track comes once, at its strongest offset. A whole track as a query collects chance
        votes for minutes: compare whole tracks with `data.groups`.
        """
        votes = self.votes(query)
        key = votes.track << 32 | (votes.offset + _BIAS)
        # a vote counts at its offset and at the next: the frames of two recordings never coincide
        key, row = np.concatenate([key, key + 1]), np.concatenate([votes.row, votes.row])
        likely, place, count = np.unique(key, return_inverse=True, return_counts=True)
        keep = count[place] >= min_votes
        place, row = place[keep], row[keep]
        once = np.unique(place << 32 | query.hashes[row], return_index=True)[1]
        place, time = place[once], query.times[row[once]].astype(np.int64)
        cells, count = np.unique(place << 32 | time // CELL, return_counts=True)
        total = np.bincount(cells >> 32, np.minimum(count, CELL_VOTES), minlength=len(likely))
        found: dict[int, Match] = {}
        for i in np.argsort(-total, kind="stable"):
            track = int(likely[i] >> 32)
            if total[i] < min_votes or len(found) == limit:
                break
            if track not in found:
                offset = int(likely[i] & 0xFFFFFFFF) - _BIAS
                heard = time[place == i] / FRAMES_PER_SECOND
                found[track] = Match(
                    track,
                    offset / FRAMES_PER_SECOND,
                    int(total[i]),
                    float(heard.min()),
                    float(heard.max()),
                )
        return list(found.values())
