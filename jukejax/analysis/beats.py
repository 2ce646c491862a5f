"""Where the beats are: period, places and tempo of a strength of onsets.

The period comes from autocorrelation and a comb of multiples (Scheirer, 1998; Klapuri et al.,
2006), the beats from dynamic programming at that period (Ellis, "Beat Tracking by Dynamic
Programming", 2007).

Strengths are float64 [F], F frames of 1 / `FRAMES_PER_SECOND`.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage

SAMPLE_RATE, HOP = 22_050, 128
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
SLOWEST, FASTEST = 60.0, 190.0  # BPM that are looked for
USUAL, OCTAVES = 130.0, 0.9  # BPM that is expected of records to dance to, and its spread
_TEETH = 8  # multiples of a period that a tempo is judged by
_SPAN = 16  # beats of a local tempo
_TIGHTNESS = 1600  # of the beats: breaks without drums are crossed at the tempo around them
_NEAR, _HEARD = 0.07, 0.25  # shares: of a beat, where its onset is; of the usual onset's strength


def autocorrelation(strength: np.ndarray, longest: float) -> np.ndarray:
    """Normalised autocorrelation for lags of 0 to `longest` frames, each over what overlaps."""
    centred = strength - strength.mean()
    count = min(int(longest) + 2, len(centred))
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    products = np.fft.irfft(np.square(np.abs(spectrum)), size)[:count]
    products /= np.arange(len(centred), len(centred) - count, -1)
    return products / max(products[0], 1e-12)


def at_lag(correlation: np.ndarray, lag: float) -> float:
    """The highest value within 2 % or a frame of a lag: hands are not machines."""
    reach = max(1.0, 0.02 * lag)
    first, last = int(np.floor(lag - reach)), int(np.ceil(lag + reach))
    return float(correlation[max(first, 0) : last + 1].max(initial=-1.0))


def beat_period(strength: np.ndarray) -> float | None:
    """Frames between beats, a part of a frame exact; None where nothing returns."""
    longest = 60.0 / SLOWEST * FRAMES_PER_SECOND
    teeth = min(_TEETH, int((len(strength) - 2) / longest))
    if teeth < 2:
        return None
    correlation = autocorrelation(strength, teeth * longest)
    if strength.max(initial=0.0) <= 0:
        return None
    bpm = np.geomspace(SLOWEST, FASTEST, 1200)
    lags = 60.0 / bpm * FRAMES_PER_SECOND
    multiples = lags[:, None] * np.arange(1, teeth + 1)
    places = np.arange(len(correlation))
    comb = np.interp(multiples, places, correlation).mean(axis=1)
    score = comb * np.exp(-0.5 * np.square(np.log2(bpm / USUAL) / OCTAVES))
    return float(lags[np.argmax(score)]) if score.max() > 0 else None


def track_beats(strength: np.ndarray, period: float) -> np.ndarray:
    """Frames of the beats that are heard, a part of a frame exact: float64 [beats].

    Dynamic programming finds where beats belong; each then moves to the strongest onset near it,
    and those without one (in a break) are left out.
    """
    found = _best_chain(strength, period)
    reach = max(1, round(_NEAR * period))
    found = found[(found > reach) & (found < len(strength) - reach - 1)]
    if not len(found):
        return np.zeros(0)
    around = strength[found[:, None] + np.arange(-reach, reach + 1)]  # [beats, places]
    beats = found - reach + around.argmax(axis=1)
    beats = np.unique(beats[around.max(axis=1) > _HEARD * np.median(around.max(axis=1))])
    left, centre, right = (strength[beats + step] for step in (-1, 0, 1))
    curve = left - 2 * centre + right
    peaked = (centre >= left) & (centre >= right) & (curve < 0)
    shift = np.where(peaked, 0.5 * (left - right) / np.where(peaked, curve, 1.0), 0.0)
    return beats + shift


def _best_chain(strength: np.ndarray, period: float) -> np.ndarray:
    """Frames, int64 [beats], with the most onsets on them at distances near the period.

    A beat follows one that is half to two periods older; as none is younger than that, half a
    period of frames is worked on at once.
    """
    width = period / 32  # as in Ellis's code: an onset counts for frames this near too
    onset = scipy.ndimage.gaussian_filter1d(strength / (strength.std() + 1e-12), width)
    onset *= np.sqrt(2 * np.pi) * width
    nearest, farthest = max(round(period / 2), 1), round(2 * period)
    cost = _TIGHTNESS * np.square(np.log(np.arange(farthest, nearest - 1, -1) / period))
    total = np.concatenate([np.zeros(farthest), onset])  # zeros: before a beginning
    before = np.full(len(total), -1)
    for start in range(farthest, len(total), nearest):
        stop = min(start + nearest, len(total))
        past = np.lib.stride_tricks.sliding_window_view(total[: stop - nearest], len(cost))
        past = past[start - farthest :] - cost  # [frames, distances], the farthest first
        best = past.argmax(axis=1)
        gain = past.max(axis=1)
        frames = np.arange(start, stop)
        total[start:stop] += np.maximum(gain, 0)
        before[start:stop] = np.where(gain > 0, frames - farthest + best, -1)
    last = len(total) - min(round(period), len(onset))
    chain = [last + int(total[last:].argmax())]
    while before[chain[-1]] >= farthest:
        chain.append(before[chain[-1]])
    return np.array(chain[::-1]) - farthest


class Beats(NamedTuple):
    """Beats in frames, float64 [beats] each.

    Attributes:
      frames: of each beat.
      number: of each beat; one that was missed is counted.
      period: frames of a beat, of the straight line through them (least squares).
    """

    frames: np.ndarray
    number: np.ndarray
    period: float


def steady_beats(beats: np.ndarray) -> Beats | None:
    """Beats in frames with their numbers and period; None if there are fewer than 4."""
    if len(beats) < 4:
        return None
    usual = np.median(np.diff(beats))
    number = np.concatenate([[0], np.cumsum(np.maximum(np.rint(np.diff(beats) / usual), 1))])
    return Beats(beats, number, float(np.polyfit(number, beats, 1)[0]))


def local_tempo(number: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Time of the middle and BPM of each run of 16 beats, every 4 beats."""
    starts = range(0, len(seconds) - _SPAN, 4)
    slopes = [
        np.polyfit(number[i : i + _SPAN + 1], seconds[i : i + _SPAN + 1], 1)[0] for i in starts
    ]
    middles = [seconds[i : i + _SPAN + 1].mean() for i in starts]
    return np.array(middles), 60.0 / np.array(slopes)
