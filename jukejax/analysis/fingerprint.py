"""Recognition of recordings by landmarks of spectrograms, with time-consistent votes.

After Wang, "An Industrial-Strength Audio Search Algorithm" (ISMIR 2003). The loudest points of a
spectrogram survive noise, re-encoding and a change of level. Landmarks are pairs of close peaks
(two frequencies and the time between them); two passages of the same recording have many common
landmarks, all with the same time offset. Speed and pitch must be equal: a record played at +2 % is
not recognized.

A frame is `HOP` samples at `SAMPLE_RATE`.
"""

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import scipy.fft
import scipy.ndimage

from jukejax.common.arrays import read_arrays
from jukejax.data.audio import resample_blocks

SAMPLE_RATE = 11025  # Hz: peaks up to 5.5 kHz, which every codec preserves
N_FFT = 2048
HOP = 256
FRAMES_PER_SECOND = SAMPLE_RATE / HOP

LOWEST = 28  # bin, 150 Hz: below it, kick and bass differ little between records
NEAR_BINS, NEAR_FRAMES = 24, 8  # a peak is the maximum within so many bins and frames on each side
FLOOR = 1e-3  # ratio to the loudest point, -60 dB, below which points are no peaks
FAN_OUT = 4  # number of pairs that start at a peak
MAX_BINS, MIN_FRAMES, MAX_FRAMES = 127, 2, 63  # between the two peaks of a pair

SHIFTS, EXCERPT_FAN_OUT = 4, 8  # for excerpts: see `extract_landmarks`
CELL = 11  # frames, a quarter of a second
CELL_VOTES = 5  # largest number of votes of a cell: one drum hit is no evidence of a recording
MIN_VOTES = 16  # of a match, measured with 3 s excerpts: tests/analysis/test_fingerprint.py
COMMON = 8  # hashes that occur more often than this per track are ignored

_VOTES = 1 << 22  # votes that are counted at once, about
_BLOCK = 4096  # frames transformed at once, which bounds the memory
_BIAS = 1 << 30  # makes offsets positive


@dataclass(frozen=True)
class Landmarks:
    """Pairs of peaks in temporal order.

    Attributes:
      hashes: uint32 [n], bin of the first peak, bins and frames from there to the second.
      times: int32 [n], frame of the first peak.
      frames: length of the recording in frames.
    """

    hashes: np.ndarray
    times: np.ndarray
    frames: int

    def save(self, file: str | os.PathLike | BinaryIO) -> None:
        """Writes an .npz file."""
        np.savez(file, hashes=self.hashes, times=self.times, frames=self.frames)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Landmarks":
        """Reads the file of `save`.

        Raises:
          ValueError: the file is damaged.
        """
        arrays = read_arrays(path)
        if arrays.keys() != {"hashes", "times", "frames"}:
            raise ValueError(f"it holds {', '.join(arrays)}")
        return cls(arrays["hashes"], arrays["times"], int(arrays["frames"]))


def extract_landmarks(
    mono: np.ndarray | Iterable[np.ndarray], sample_rate: int = 44100, *, excerpt: bool = False
) -> Landmarks:
    """Extracts the landmarks of a recording.

    Args:
      mono: float [time], or its blocks: only the sound at `SAMPLE_RATE` is held in memory.
      excerpt: extracts more landmarks, for a short or degraded query of an index of whole
        recordings. As its frames are not aligned with those of the original, peaks are taken at
        `SHIFTS` sub-frame shifts; as noise adds peaks, more pairs start at each peak. This takes
        six times the computation and up to eight times the landmarks.
    """
    mono = resample_mono(mono, sample_rate)
    shifts, fan_out = (SHIFTS, EXCERPT_FAN_OUT) if excerpt else (1, FAN_OUT)
    pairs = [_pair_peaks(*_find_peaks(mono[i * HOP // shifts :]), fan_out) for i in range(shifts)]
    packed = np.sort(np.concatenate(pairs))  # time, then hash; np.unique would hash them
    packed = packed[np.diff(packed, prepend=-1) > 0]
    hashes = (packed & 0xFFFFFFFF).astype(np.uint32)
    return Landmarks(hashes, (packed >> 32).astype(np.int32), _count_frames(mono))


def resample_mono(
    mono: np.ndarray | Iterable[np.ndarray], sample_rate: int, new_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Resamples float [time], or its blocks, to float32 [time] at `new_rate`."""
    blocks = [mono] if isinstance(mono, np.ndarray) else mono
    columns = (np.asarray(block, np.float32)[:, None] for block in blocks)
    buffer = bytearray()  # grows in place: hours of sound are not held twice
    for block in resample_blocks(columns, 1, sample_rate, new_rate):
        buffer += block.tobytes()
    return np.frombuffer(buffer, np.float32)


def _count_frames(mono: np.ndarray) -> int:
    return max(0, 1 + (len(mono) - N_FFT) // HOP)


def _find_peaks(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames and bins, int64 [n] each, of the local maxima of the spectrogram."""
    count, window = _count_frames(mono), np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    size = (2 * NEAR_FRAMES + 1, 2 * NEAR_BINS + 1)
    blocks = [np.zeros((3, 0))]
    for start in range(0, count, _BLOCK):
        first, last = max(0, start - NEAR_FRAMES), min(count, start + _BLOCK + NEAR_FRAMES)
        samples = mono[first * HOP : (last - 1) * HOP + N_FFT]
        frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP] * window
        loudness = np.abs(scipy.fft.rfft(frames, axis=1))[:, LOWEST:-1]  # [frames, bins]
        loudest = scipy.ndimage.maximum_filter(loudness, size, mode="constant")
        time, bins = np.nonzero((loudness == loudest) & (loudness > 0))
        peaks = np.stack([time + first, bins + LOWEST, loudness[time, bins]])
        blocks.append(peaks[:, (peaks[0] >= start) & (peaks[0] < start + _BLOCK)])
    time, bins, loudness = np.concatenate(blocks, axis=1)
    audible = loudness > FLOOR * loudness.max(initial=0)
    return time[audible].astype(np.int64), bins[audible].astype(np.int64)


def _pair_peaks(time: np.ndarray, bins: np.ndarray, fan_out: int) -> np.ndarray:
    """Pairs each peak with the next `fan_out` peaks in reach: int64 [n], time << 32 | hash."""
    num_pairs = np.zeros(len(time), int)  # pairs that start at each peak
    pairs = [np.zeros(0, np.int64)]
    for step in range(1, len(time)):  # pairs with the peak `step` positions later
        frames = time[step:] - time[:-step]
        if frames.min() > MAX_FRAMES:
            break
        up = bins[step:] - bins[:-step]
        near = (frames >= MIN_FRAMES) & (frames <= MAX_FRAMES) & (np.abs(up) <= MAX_BINS)
        first = np.nonzero(near & (num_pairs[:-step] < fan_out))[0]
        num_pairs[first] += 1
        hashes = bins[first] << 14 | (up[first] + MAX_BINS) << 6 | frames[first]
        pairs.append(time[first] << 32 | hashes)
    return np.concatenate(pairs)


@dataclass(frozen=True)
class Match:
    """A track of the index that contains a query.

    Attributes:
      track: its number in the index.
      offset_seconds: position of the start of the query in the track; negative if before it.
      votes: common landmarks at this offset, each hash once and at most `CELL_VOTES` per cell.
      start_seconds, end_seconds: range of the common landmarks in the query.
    """

    track: int
    offset_seconds: float
    votes: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Votes:
    """Common landmarks of a query and the tracks of an index, one row each.

    Attributes:
      track, offset: int64 [n], the track, and its time minus the query's, in frames.
      row: int64 [n], number of the landmark in the query.
    """

    track: np.ndarray
    offset: np.ndarray
    row: np.ndarray


class Index:
    """Indexes the landmarks of many tracks by hash; 12 bytes each, 1.7 kB per second of music."""

    def __init__(self, hashes: np.ndarray, tracks: np.ndarray, times: np.ndarray, count: int):
        self._hashes, self._tracks, self._times, self.count = hashes, tracks, times, count

    @classmethod
    def build(cls, tracks: Sequence[Landmarks]) -> "Index":
        """Builds an index in which track i is `tracks[i]`."""
        hashes = np.concatenate([np.zeros(0, np.uint32), *(track.hashes for track in tracks)])
        times = np.concatenate([np.zeros(0, np.int32), *(track.times for track in tracks)])
        lengths = [len(track.hashes) for track in tracks]
        numbers = np.repeat(np.arange(len(tracks), dtype=np.int32), lengths)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], numbers[order], times[order], len(tracks))

    def save(self, file: str | os.PathLike | BinaryIO) -> None:
        """Writes an .npz file."""
        np.savez(
            file, hashes=self._hashes, tracks=self._tracks, times=self._times, count=self.count
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Index":
        """Reads the file of `save`.

        Raises:
          ValueError: the file is damaged.
        """
        arrays = read_arrays(path)
        if arrays.keys() != {"hashes", "tracks", "times", "count"}:
            raise ValueError(f"it holds {', '.join(arrays)}")
        return cls(arrays["hashes"], arrays["tracks"], arrays["times"], int(arrays["count"]))

    def find_votes(self, query: Landmarks, *, before: int | None = None) -> Votes:
        """Finds the common landmarks of the query and the tracks, at any offset.

        Args:
          before: only tracks with a smaller number; None: all. Those of others are not held in
            memory: a track of exact loops has hundreds of landmarks in common with itself for each.
        """
        first = np.searchsorted(self._hashes, query.hashes, "left")
        count = np.searchsorted(self._hashes, query.hashes, "right") - first
        count[count > COMMON * max(self.count, 32)] = 0
        total = np.concatenate([[0], np.cumsum(count)])
        borders = np.searchsorted(total, np.arange(0, total[-1], _VOTES))
        blocks = [np.zeros((3, 0), np.int64)]
        for start, stop in itertools.pairwise(np.unique([0, *borders, len(count)])):
            counts = count[start:stop]
            row = np.repeat(np.arange(start, stop), counts)
            shift = first[start:stop] - total[start:stop] + total[start]
            index = np.arange(len(row)) + np.repeat(shift, counts)
            if before is not None:
                is_before = self._tracks[index] < before
                index, row = index[is_before], row[is_before]
            offset = self._times[index].astype(np.int64) - query.times[row]
            blocks.append(np.stack([self._tracks[index], offset, row]))
        return Votes(*np.concatenate(blocks, axis=1))

    def find_matches(
        self, query: Landmarks, *, min_votes: int = MIN_VOTES, limit: int = 10
    ) -> list[Match]:
        """Finds the tracks that contain the query, some seconds of sound, strongest first.

        Each track is listed once, at its strongest offset. The query should be short, as chance
        votes accumulate over minutes; `preparation.groups` compares whole tracks.
        """
        votes = self.find_votes(query)
        key = votes.track << 32 | (votes.offset + _BIAS)
        # a vote counts at its offset and at the next one, as frames of two recordings are not
        # aligned
        key, row = np.concatenate([key, key + 1]), np.concatenate([votes.row, votes.row])
        candidates, candidate, count = np.unique(key, return_inverse=True, return_counts=True)
        keep = count[candidate] >= min_votes
        candidate, row = candidate[keep], row[keep]
        unique = np.unique(candidate << 32 | query.hashes[row], return_index=True)[1]
        candidate, time = candidate[unique], query.times[row[unique]].astype(np.int64)
        cells, count = np.unique(candidate << 32 | time // CELL, return_counts=True)
        total = np.bincount(cells >> 32, np.minimum(count, CELL_VOTES), minlength=len(candidates))
        matches: dict[int, Match] = {}
        for i in np.argsort(-total, kind="stable"):
            track = int(candidates[i] >> 32)
            if total[i] < min_votes or len(matches) == limit:
                break
            if track not in matches:
                offset = int(candidates[i] & 0xFFFFFFFF) - _BIAS
                seconds = time[candidate == i] / FRAMES_PER_SECOND
                matches[track] = Match(
                    track,
                    offset / FRAMES_PER_SECOND,
                    int(total[i]),
                    float(seconds.min()),
                    float(seconds.max()),
                )
        return list(matches.values())
