"""Beat tracking: period, positions and tempo of the beats, from onset strengths.

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
SLOWEST, FASTEST = 60.0, 190.0  # BPM, the range of the search
USUAL, OCTAVES = 130.0, 0.9  # BPM and spread of the prior over tempos of dance music
_TEETH = 8  # multiples of a period in the comb
_RIVAL = 0.9  # least score of a period that may be that of the beat, as a share of the best
_SPAN = 16  # beats of a local tempo
_TIGHTNESS = 1600  # of the tempo: in breaks without drums the tempo is that of their surroundings
_NEAR = 0.07  # largest distance of a beat from its onset, as a share of the period
_AUDIBLE = 0.25  # least onset strength of a beat, as a share of the median


def autocorrelation(strength: np.ndarray, longest: float) -> np.ndarray:
    """Computes the normalized autocorrelation for lags of 0 to `longest` frames.

    Each lag is averaged over the frames that overlap.
    """
    centered = strength - strength.mean()
    count = min(int(longest) + 2, len(centered))
    size = 1 << (2 * len(centered) - 1).bit_length()
    spectrum = np.fft.rfft(centered, size)
    products = np.fft.irfft(np.square(np.abs(spectrum)), size)[:count]
    products /= np.arange(len(centered), len(centered) - count, -1)
    return products / max(products[0], 1e-12)


def peak_at_lag(correlation: np.ndarray, lag: float) -> float:
    """Returns the highest value within 2 % or a frame of a lag, as played beats vary."""
    reach = max(1.0, 0.02 * lag)
    first, last = int(np.floor(lag - reach)), int(np.ceil(lag + reach))
    return float(correlation[max(first, 0) : last + 1].max(initial=-1.0))


def estimate_period(strength: np.ndarray) -> float | None:
    """Estimates the frames between beats, with sub-frame accuracy; None without a period."""
    periods = find_periods(strength)
    return float(periods[0]) if len(periods) else None


def find_periods(strength: np.ndarray) -> np.ndarray:
    """Finds the periods that may be that of the beat, in frames, the best first: float64 [n].

    Rhythms in groups of three, as in reggaeton, support two thirds of the tempo nearly as well.
    """
    longest = 60.0 / SLOWEST * FRAMES_PER_SECOND
    teeth = min(_TEETH, int((len(strength) - 2) / longest))
    if teeth < 2:
        return np.zeros(0)
    correlation = autocorrelation(strength, teeth * longest)
    if strength.max(initial=0.0) <= 0:
        return np.zeros(0)
    bpm = np.geomspace(SLOWEST, FASTEST, 1200)
    lags = 60.0 / bpm * FRAMES_PER_SECOND
    multiples = lags[:, None] * np.arange(1, teeth + 1)
    whole_lags = np.arange(len(correlation))
    comb = np.interp(multiples, whole_lags, correlation).mean(axis=1)
    score = comb * np.exp(-0.5 * np.square(np.log2(bpm / USUAL) / OCTAVES))
    padded = np.pad(score, 1, constant_values=-np.inf)
    is_peak = (score > padded[:-2]) & (score >= padded[2:])
    peaks = np.flatnonzero(is_peak & (score > 0) & (score >= _RIVAL * score.max()))
    return lags[peaks[np.argsort(-score[peaks], kind="stable")]]


def track_beats(strength: np.ndarray, period: float, kick: np.ndarray | None = None) -> np.ndarray:
    """Finds the frames of audible beats, with sub-frame accuracy: float64 [beats].

    Dynamic programming finds a chain of beats; each is then moved to the strongest onset near it,
    and beats without an onset (in a break) are dropped.

    Args:
      kick: strength of the onsets of kick drums, which has an equal say in the chain, as hi-hats
        between the beats may be louder than all that sounds on them.
    """
    chain_strength = strength
    if kick is not None:
        chain_strength = strength / (strength.std() + 1e-12) + kick / (kick.std() + 1e-12)
    chain = _find_best_chain(chain_strength, period)
    reach = max(1, round(_NEAR * period))
    chain = chain[(chain > reach) & (chain < len(strength) - reach - 1)]
    if not len(chain):
        return np.zeros(0)
    nearby = strength[chain[:, None] + np.arange(-reach, reach + 1)]  # [beats, offsets]
    beats = chain - reach + nearby.argmax(axis=1)
    beats = np.unique(beats[nearby.max(axis=1) > _AUDIBLE * np.median(nearby.max(axis=1))])
    left, center, right = (strength[beats + step] for step in (-1, 0, 1))
    curvature = left - 2 * center + right  # of the parabola through the three
    is_peak = (center >= left) & (center >= right) & (curvature < 0)
    shift = np.where(is_peak, 0.5 * (left - right) / np.where(is_peak, curvature, 1.0), 0.0)
    return beats + shift


def _find_best_chain(strength: np.ndarray, period: float) -> np.ndarray:
    """Finds the frames, int64 [beats], that maximize onset strength at distances near the period.

    The predecessor of a beat is half to two periods earlier, so that the frames of half a period do
    not depend on each other and are computed at once.
    """
    width = period / 32  # width of the smoothing, as in Ellis's code
    onset = scipy.ndimage.gaussian_filter1d(strength / (strength.std() + 1e-12), width)
    onset *= np.sqrt(2 * np.pi) * width
    nearest, farthest = max(round(period / 2), 1), round(2 * period)
    cost = _TIGHTNESS * np.square(np.log(np.arange(farthest, nearest - 1, -1) / period))
    total = np.concatenate([np.zeros(farthest), onset])  # zeros: before the start
    predecessor = np.full(len(total), -1)
    for start in range(farthest, len(total), nearest):
        stop = min(start + nearest, len(total))
        past = np.lib.stride_tricks.sliding_window_view(total[: stop - nearest], len(cost))
        past = past[start - farthest :] - cost  # [frames, distances], the farthest first
        best = past.argmax(axis=1)
        gain = past.max(axis=1)
        frames = np.arange(start, stop)
        total[start:stop] += np.maximum(gain, 0)
        predecessor[start:stop] = np.where(gain > 0, frames - farthest + best, -1)
    last = len(total) - min(round(period), len(onset))
    chain = [last + int(total[last:].argmax())]
    while predecessor[chain[-1]] >= farthest:
        chain.append(predecessor[chain[-1]])
    return np.array(chain[::-1]) - farthest


class Beats(NamedTuple):
    """Beats, float64 [beats] each.

    Attributes:
      frames: position of each beat.
      number: index of each beat, including missed beats.
      period: frames per beat, by least squares over all beats.
    """

    frames: np.ndarray
    number: np.ndarray
    period: float


def number_beats(beats: np.ndarray) -> Beats | None:
    """Numbers beats and fits their period; None for fewer than 4 beats.

    Args:
      beats: frames, float64 [beats].
    """
    if len(beats) < 4:
        return None
    interval = np.median(np.diff(beats))
    number = np.concatenate([[0], np.cumsum(np.maximum(np.rint(np.diff(beats) / interval), 1))])
    return Beats(beats, number, float(np.polyfit(number, beats, 1)[0]))


def compute_local_tempo(number: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the middle in seconds and the BPM of each run of 16 beats, every 4 beats."""
    starts = range(0, len(seconds) - _SPAN, 4)
    slopes = [
        np.polyfit(number[i : i + _SPAN + 1], seconds[i : i + _SPAN + 1], 1)[0] for i in starts
    ]
    middles = [seconds[i : i + _SPAN + 1].mean() for i in starts]
    return np.array(middles), 60.0 / np.array(slopes)
