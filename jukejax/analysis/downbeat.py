"""Downbeat: which of four beats begins the bar, from changes of chord, bass and timbre.

Chords, bass notes and sections change at bars more than at other beats (Goto, "An Audio-Based
Real-Time Beat Tracking System for Music With or Without Drum-Sounds", 2001), and snares and claps
are on the second and the fourth beat. Each kind of evidence is a number for each beat; the mean of
it over every fourth beat is compared with the variation between beats.

Letters: B beats.
"""

import numpy as np

from jukejax.analysis.beats import FRAMES_PER_SECOND
from jukejax.analysis.chroma import CHROMA_HOP, SAMPLE_RATE, Chroma
from jukejax.analysis.rhythm import Onsets

_SPANS = (1, 2, 4)  # beats compared before and after a beat
_SECTION = 16  # beats compared at changes of section
_LOW_BANDS, _SNARE_BANDS = slice(0, 6), slice(14, None)  # up to 0.3 kHz; from 1 kHz
_ONSET = range(-1, 4)  # frames around a beat with its onset
_SHARPNESS = 0.25  # of the confidence: kinds of evidence are not independent


def estimate_downbeat(onsets: Onsets, chroma: Chroma, beats: np.ndarray) -> tuple[int, float]:
    """Estimates which of the first four beats is a downbeat, 0 to 3, and the confidence, 0 to 1.

    Args:
      beats: seconds, float64 [B], equally spaced. For fewer than 8 the confidence is 0.
    """
    if len(beats) < 8:
        return 0, 0.0
    mel = _average_beats(onsets.mel, beats * FRAMES_PER_SECOND)
    chroma_frames = beats * SAMPLE_RATE / CHROMA_HOP
    score = np.zeros(4)
    for tones in (chroma.harmony, chroma.bass):
        notes = _average_beats(tones, chroma_frames)
        score += sum(_compare_beats(_measure_turn(notes, span)) for span in _SPANS)
    for sound in (mel, mel[:, _LOW_BANDS]):
        score += sum(_compare_beats(_measure_change(sound, span)) for span in _SPANS)
    score += _compare_beats(_measure_change(mel, _SECTION) ** 2)
    snare = _compare_beats(_measure_snare(onsets.mel, beats))
    score -= (snare + np.roll(snare, 2)) / 2
    weights = np.exp(_SHARPNESS * (score - score.max()))
    confidence = (weights.max() / weights.sum() - 0.25) / 0.75
    return int(score.argmax()), float(confidence)


def _average_beats(frames: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Averages frames, [F, features], from each beat to the next: float64 [B - 1, features]."""
    sums = np.concatenate([np.zeros((1, frames.shape[1])), np.cumsum(frames, 0, np.float64)])
    edges = np.clip(np.rint(edges).astype(np.int64), 0, len(frames))
    return (sums[edges[1:]] - sums[edges[:-1]]) / np.maximum(np.diff(edges), 1)[:, None]


def _split_spans(values: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Averages the `span` beats before and from each beat that has as many on both sides."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    beats = np.arange(span, len(values) - span + 1)
    return sums[beats] - sums[beats - span], sums[beats + span] - sums[beats]


def _pad(change: np.ndarray, span: int, count: int) -> np.ndarray:
    """Places the values of `_split_spans` at their beats, NaN elsewhere: [count]."""
    placed = np.full(count, np.nan)
    placed[span : span + len(change)] = change
    return placed[:count]


def _measure_turn(values: np.ndarray, span: int) -> np.ndarray:
    """Measures the change of direction of a vector at each beat, whatever its length: [B - 1]."""
    before, after = _split_spans(values, span)
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    turn = 1 - (before * after).sum(axis=1) / np.maximum(norms, 1e-9)
    return _pad(turn, span, len(values))


def _measure_change(values: np.ndarray, span: int) -> np.ndarray:
    """Measures the distance between the vectors before and after each beat: [B - 1]."""
    before, after = _split_spans(values, span)
    return _pad(np.linalg.norm(after - before, axis=1) / span, span, len(values))


def _measure_snare(mel: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Measures the rise of the bands of snares and claps at each beat: [B]."""
    bands = mel[:, _SNARE_BANDS].mean(axis=1)
    rise = np.maximum(bands[2:] - bands[:-2], 0)
    frames = np.rint(beats * FRAMES_PER_SECOND).astype(np.int64) - 2  # of the earlier frame
    around = np.clip(frames[:, None] + np.array(_ONSET), 0, len(rise) - 1)
    return rise[around].max(axis=1)


def _compare_beats(evidence: np.ndarray) -> np.ndarray:
    """Averages evidence over every fourth beat: float64 [4], in standard errors of such a mean."""
    rows = np.pad(evidence, (0, -len(evidence) % 4), constant_values=np.nan).reshape(-1, 4)
    present = ~np.isnan(rows)
    counts = present.sum(axis=0)
    if counts.min() == 0:
        return np.zeros(4)
    means = np.where(present, rows, 0.0).sum(axis=0) / counts
    error = np.nanstd(rows) / np.sqrt(counts.mean())
    return (means - means.mean()) / max(float(error), 1e-9)
