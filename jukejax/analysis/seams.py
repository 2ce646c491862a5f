"""Audibility of joins between windows: spectral flux and level steps at the borders.

Flux is the mean rise of the log magnitudes from one frame to the next, used for onset detection
(Bello et al., "A Tutorial on Onset Detection in Music Signals", 2005). A border is compared with
all other positions of the same sound, since drum hits raise both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FRAME, HOP = 0.023, 0.0058  # seconds: short enough to resolve clicks
LEVEL = 0.05  # seconds on each side whose levels are compared
NEAR = 0.06  # seconds around a border that are assigned to it
MIN_ELSEWHERE = 100  # frames elsewhere (0.6 s) without which nothing is measured there
_FLOOR_DB = -70.0
_BLOCK = 4096  # frames transformed at once


class Seams(NamedTuple):
    """Figures at borders and elsewhere; None without any border, or with too few frames elsewhere.

    Attributes:
      flux_at, flux_elsewhere: the largest flux within a border's reach, mean over borders, and the
        same over all stretches of that length elsewhere.
      flux_ratio: ratio of the two; about 1 if borders are inaudible.
      jump_db_at, jump_db_elsewhere: mean absolute step between the levels of 50 ms before and
        after, in dB.
      num_joins, num_frames_elsewhere: borders, and frames away from them.
    """

    flux_at: float | None
    flux_elsewhere: float | None
    flux_ratio: float | None
    jump_db_at: float | None
    jump_db_elsewhere: float | None
    num_joins: int
    num_frames_elsewhere: int


def measure_seams(sound: np.ndarray, sample_rate: int, borders: Sequence[int]) -> Seams:
    """Measures flux and level steps at the borders of windows and elsewhere.

    Args:
      sound: float [time] or [time, channels].
      borders: first samples of windows; those outside of the sound are ignored.
    """
    mono = np.asarray(sound, np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    hop, near = max(round(HOP * sample_rate), 1), round(NEAR * sample_rate)
    flux = _flux(mono, round(FRAME * sample_rate), hop)
    inner = np.array(sorted({int(b) for b in borders if 0 < b < len(mono)}), np.int64)
    reach = near // hop
    peaks = _sliding_max(flux, reach)  # the largest flux within `reach` frames of each
    jumps = _jumps(mono, round(LEVEL * sample_rate), hop)
    far = np.ones(len(flux), bool)
    at = np.minimum(np.rint(inner / hop).astype(np.int64), max(len(flux) - 1, 0))
    for frame in at:
        far[max(frame - 2 * reach, 0) : frame + 2 * reach + 1] = False
    num_elsewhere = int(far.sum())
    if num_elsewhere < MIN_ELSEWHERE:
        far[:] = False
    flux_at, flux_elsewhere = _mean(peaks[at]), _mean(peaks[far])
    return Seams(
        flux_at,
        flux_elsewhere,
        flux_at / flux_elsewhere if flux_at is not None and flux_elsewhere else None,
        _mean(jumps[at]),
        _mean(jumps[far]),
        len(at),
        num_elsewhere,
    )


def rank_join(
    sound: np.ndarray, sample_rate: int, join: int, others: Sequence[int]
) -> tuple[float, float]:
    """Ranks the flux and the level step at a join among those at other positions, 0 to 1.

    Args:
      sound: float [time, channels].
      join, others: samples.

    Returns:
      Shares of the other positions at which flux and level step are smaller.
    """
    mono = np.asarray(sound, np.float32).mean(axis=1)
    hop, near = max(round(HOP * sample_rate), 1), round(NEAR * sample_rate)
    flux = _sliding_max(_flux(mono, round(FRAME * sample_rate), hop), near // hop)
    jumps = _jumps(mono, round(LEVEL * sample_rate), hop)
    frames = np.minimum(np.rint(np.array(others) / hop).astype(np.int64), len(flux) - 1)
    at = min(round(join / hop), len(flux) - 1)
    flux_rank, jump_rank = (float((values[frames] < values[at]).mean()) for values in (flux, jumps))
    return flux_rank, jump_rank


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _flux(mono: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Computes the mean rise in dB over frequencies; frame i is centered at i * hop. [frames]"""
    padded = np.pad(mono, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    frames, window = frames[: 1 + len(mono) // hop], np.hanning(size + 2)[1:-1]
    blocks, last = [], None
    for start in range(0, len(frames), _BLOCK):
        spectrum = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window)) * 2 / window.sum()
        level = np.maximum(20 * np.log10(np.maximum(spectrum, 1e-9)), _FLOOR_DB)
        previous = level[:1] if last is None else last
        rise = np.diff(np.concatenate([previous, level]), axis=0)
        blocks.append(np.maximum(rise, 0).mean(axis=1))
        last = level[-1:]
    return np.concatenate(blocks)


def _sliding_max(values: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(values, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)


def _jumps(mono: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Computes the absolute step of the level in dB at each frame. [frames]"""
    power = np.concatenate([[0.0], np.cumsum(np.square(mono, dtype=np.float64))])
    at = np.arange(1 + len(mono) // hop) * hop
    earlier, later = np.maximum(at - size, 0), np.minimum(at + size, len(mono))
    floor = 10 ** (_FLOOR_DB / 10)
    left = (power[at] - power[earlier]) / np.maximum(at - earlier, 1)
    right = (power[later] - power[at]) / np.maximum(later - at, 1)
    return np.abs(10 * np.log10((right + floor) / (left + floor)))
