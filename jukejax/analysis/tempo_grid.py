"""Musical grid of a whole track: one constant tempo, the first downbeat, the key.

The period is the peak of a comb of harmonics in the spectrum of the onset strength of the whole
track (Peeters, "Template-Based Estimation of Time-Varying Tempo", 2007, over one window). The
sound is then folded at that period: averaged over the beats of a segment, the rise of energy at
the attack is clear to about a millisecond. A line through the attacks of all segments gives the
period and the phase, and its residuals show whether the tempo is constant.

Positions are samples at 22,050 Hz unless noted otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.fft

from jukejax.analysis import chroma
from jukejax.analysis.beats import HOP, SAMPLE_RATE, autocorrelation, find_periods, peak_at_lag
from jukejax.analysis.downbeat import estimate_downbeat
from jukejax.analysis.fingerprint import resample_mono
from jukejax.analysis.musical_key import estimate_key
from jukejax.analysis.rhythm import NO_PULSE, SHORTEST, Onsets, detect_onsets
from jukejax.data.grid import Grid

_HARMONICS = np.array([1, 2, 4])  # of the beat: beats, eighths, sixteenths
_RANGE = 0.03  # largest deviation of the period from its first estimate
ATTACK_STEP = 32  # samples between points of the attack strength, 1.5 ms
_SIDE = 3  # steps whose energy is compared before and after a point
_QUIET = 1e-5  # power at which attacks fade out, as a ratio to the mean power
_BLOCK = 1 << 20  # samples
_SEGMENT = 8  # beats folded together
_REACH = 0.035  # seconds between the attack of a segment and the grid, at most
_NEAR = 0.012  # seconds: residual of a segment that lies on the grid
_CLEAR = 0.4  # pulse of a clear beat
_WINDOW = 16  # beats of a local tempo
_LOCAL = np.arange(-150, 151) * 0.002  # deviations of the local tempo
_FINE_HARMONICS = np.array([1, 2, 4, 8, 16])  # the highest tell tempos 1 % apart in a window
_LEAST_CONSTANCY, _LEAST_NEAR = 0.88, 0.42  # below either of them the tempo is not constant


@dataclass(frozen=True)
class GridEstimate:
    """The grid of a track, in 4/4.

    Attributes:
      bpm: None without a pulse, or if the tempo is not constant.
      first_downbeat: samples at the sample rate of the call, in [0, one bar); None with `bpm`.
      key: "A minor", "C# major"; None without pitches.
      bpm_confidence, downbeat_confidence, key_confidence: 0 to 1.
      is_constant: false if the tempo drifts or jumps.
    """

    bpm: float | None
    bpm_confidence: float
    first_downbeat: float | None
    downbeat_confidence: float
    key: str | None
    key_confidence: float
    is_constant: bool

    @property
    def grid(self) -> Grid:
        """Returns the values without their confidences."""
        return Grid(self.bpm, self.first_downbeat, self.key)


@dataclass(frozen=True)
class _Pulse:
    """Beats at `start + n * period`.

    Attributes:
      constancy: see `measure_constancy`.
      near: share of the segments whose attacks lie on the grid, by clarity.
    """

    period: float
    start: float
    constancy: float
    near: float


def estimate_grid(
    mono: np.ndarray | Iterable[np.ndarray], sample_rate: int = 44100
) -> GridEstimate:
    """Estimates tempo, first downbeat and key of a whole track.

    Args:
      mono: float32 [time], or its blocks in order: only the sound at 22,050 Hz is held in memory,
        0.3 GB an hour, and its mel spectrogram.
    """
    sound = resample_mono(mono, sample_rate, SAMPLE_RATE)
    if len(sound) < SHORTEST * SAMPLE_RATE or not np.any(sound):
        return GridEstimate(None, 0.0, None, 0.0, None, 0.0, True)
    tonal = chroma.resample_tonal(sound, SAMPLE_RATE)
    key, key_confidence = estimate_key(tonal, chroma.SAMPLE_RATE)
    onsets = detect_onsets(sound, SAMPLE_RATE)
    periods = find_periods(onsets.all)
    if not len(periods):
        return GridEstimate(None, 0.0, None, 0.0, key, key_confidence, True)
    period, constancy = _choose_period(onsets.all, periods)
    clarity = peak_at_lag(autocorrelation(onsets.all, 2 * period), period)
    if clarity <= NO_PULSE:
        return GridEstimate(None, 0.0, None, 0.0, key, key_confidence, True)
    pulse = _fit_pulse(sound, onsets, period, constancy)
    confidence = float(np.clip(clarity / _CLEAR, 0, 1) * min(pulse.constancy, pulse.near))
    if pulse.constancy < _LEAST_CONSTANCY or pulse.near < _LEAST_NEAR:
        return GridEstimate(None, confidence, None, 0.0, key, key_confidence, False)
    beats = np.arange(pulse.start, len(sound), pulse.period)
    notes = chroma.compute_chroma(tonal, chroma.SAMPLE_RATE)
    number, downbeat_confidence = estimate_downbeat(onsets, notes, beats / SAMPLE_RATE)
    downbeat = (pulse.start + number * pulse.period) % (4 * pulse.period)
    return GridEstimate(
        bpm=float(60.0 * SAMPLE_RATE / pulse.period),
        bpm_confidence=confidence,
        first_downbeat=float(downbeat * sample_rate / SAMPLE_RATE),
        downbeat_confidence=float(downbeat_confidence * min(pulse.constancy, pulse.near)),
        key=key,
        key_confidence=key_confidence,
        is_constant=True,
    )


def _choose_period(strength: np.ndarray, periods: np.ndarray) -> tuple[float, float]:
    """Returns the first period with which the tempo is constant, else the first, and its constancy.

    Args:
      periods: frames, the most likely first, float64 [n].
    """
    candidates = []
    for period in periods:
        refined = _refine_period(strength, period)
        candidates.append((refined, measure_constancy(strength, refined)))
        if candidates[-1][1] >= _LEAST_CONSTANCY:
            return candidates[-1]
    return candidates[0]


def _fit_pulse(sound: np.ndarray, onsets: Onsets, period: float, constancy: float) -> _Pulse:
    """Fits beats of one period to a track, starting from a period in frames."""
    start, period = _find_phase(onsets, period) * HOP, period * HOP
    attack = compute_attack(sound)
    start += _locate_attacks(attack, start, period, whole=True)[1][0]
    for _ in range(2):
        middles, places, weights = _locate_attacks(attack, start, period)
        slope, offset = _fit_line(middles, places, weights)
        start, period = start + offset, period + slope
    residual = places - offset - slope * middles
    near = weights[np.abs(residual) < _NEAR * SAMPLE_RATE].sum() / max(weights.sum(), 1e-12)
    return _Pulse(period, start % period, constancy, float(near))


def _refine_period(strength: np.ndarray, period: float) -> float:
    """Refines a period, in frames, to the resolution that the length of the track allows."""
    size = scipy.fft.next_fast_len(4 * len(strength), real=True)
    spectrum = np.abs(scipy.fft.rfft(strength - strength.mean(), size))
    usual = size / period  # bin of the beat
    candidates = np.arange(usual * (1 - _RANGE), usual * (1 + _RANGE), 0.125)
    bins = np.arange(len(spectrum))
    comb = np.interp(candidates[:, None] * _HARMONICS, bins, spectrum).sum(axis=1)
    return size / float(candidates[comb.argmax()])


def measure_constancy(strength: np.ndarray, period: float) -> float:
    """Measures how well a period, in frames, explains every part of a track, 0 to 1.

    This is the periodicity of windows of 16 beats at the period, as a ratio to that at the best
    period of each window within 30 %.
    """
    length = min(round(_WINDOW * period), len(strength))
    time = np.arange(length)
    frequency = (_FINE_HARMONICS[:, None] * (1 + _LOCAL)).ravel() / period
    waves = np.exp(-2j * np.pi * time[:, None] * frequency).astype(np.complex64)
    waves *= np.hanning(length + 2)[1:-1, None]
    usual, best = 0.0, 0.0
    for first in range(0, len(strength) - length + 1, max(length // 2, 1)):
        window = strength[first : first + length]
        periodicity = np.abs((window - window.mean()) @ waves)
        periodicity = periodicity.reshape(len(_FINE_HARMONICS), -1).sum(axis=0)
        usual += periodicity[len(_LOCAL) // 2]
        best += periodicity.max()
    return usual / max(best, 1e-12)


def _find_phase(onsets: Onsets, period: float) -> float:
    """Finds the frame of the first beat: that of the strongest kicks, or onsets without kicks."""
    frames = np.arange(len(onsets.all))
    cells = max(int(period / 2), 1)
    cell = (frames / period % 1 * cells).astype(np.int64)
    score = np.zeros(cells)
    for strength, share in ((onsets.kick, 1.0), (onsets.all, 0.5)):
        folded = np.bincount(cell, strength, minlength=cells)
        score += share * (folded - np.median(folded)) / max(folded.sum(), 1e-12)
    return (int(score.argmax()) + 0.5) / cells * period


def compute_attack(sound: np.ndarray) -> np.ndarray:
    """Computes the rise of the level at multiples of `ATTACK_STEP` samples, float32 [steps].

    The level is the mean logarithm of the power over 4 ms, of the sound and of its differences,
    which contain the high frequencies. Its rise is greatest at the first sample of an attack.
    """
    steps = len(sound) // ATTACK_STEP
    rise = np.zeros(steps, np.float32)
    for signal_of in (_take_sound, _take_differences):
        power = np.zeros(steps)
        for first in range(0, steps, _BLOCK // ATTACK_STEP):
            last = min(first + _BLOCK // ATTACK_STEP, steps)
            block = signal_of(sound, first * ATTACK_STEP, last * ATTACK_STEP)
            power[first:last] = np.square(block).reshape(-1, ATTACK_STEP).mean(axis=1)
        level = np.log10(power + _QUIET * power.mean() + 1e-20)
        sums = np.cumsum(np.concatenate([[0.0], level]))
        inner = np.arange(_SIDE, steps - _SIDE + 1)
        change = sums[inner + _SIDE] - 2 * sums[inner] + sums[inner - _SIDE]
        rise[_SIDE : steps - _SIDE + 1] += change[: steps - _SIDE]
    return rise


def _take_sound(sound: np.ndarray, first: int, last: int) -> np.ndarray:
    return sound[first:last]


def _take_differences(sound: np.ndarray, first: int, last: int) -> np.ndarray:
    return np.diff(sound[first:last], prepend=sound[max(first - 1, 0)])


def _locate_attacks(
    attack: np.ndarray, start: float, period: float, *, whole: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Locates the attacks of segments of 8 beats, or of the whole track, around a grid.

    Returns:
      The number of the middle beat, the distance to the grid in samples, and the weight, which is
      the clarity of the attack, float64 [segments] each.
    """
    reach = round(_REACH * SAMPLE_RATE / ATTACK_STEP)
    first = np.ceil((reach * ATTACK_STEP - start) / period)
    beats = np.arange(first, (len(attack) - reach - 2) * ATTACK_STEP / period - start / period)
    centers = start + beats * period
    nearest = np.rint(centers / ATTACK_STEP).astype(np.int64)
    windows = attack[nearest[:, None] + np.arange(-reach, reach + 1)]  # [beats, offsets]
    size = len(beats) if whole else min(_SEGMENT, len(beats))
    count = max(len(beats) // size, 1)
    folded = windows[: count * size].reshape(count, size, -1).mean(axis=1)
    peak = folded[:, 1:-1].argmax(axis=1) + 1
    left, center, right = (folded[np.arange(count), peak + step] for step in (-1, 0, 1))
    shift = 0.5 * (left - right) / np.minimum(left - 2 * center + right, -1e-9)
    rounding = (nearest * ATTACK_STEP - centers)[: count * size].reshape(count, size).mean(axis=1)
    distance = (peak - reach + np.clip(shift, -0.5, 0.5)) * ATTACK_STEP + rounding
    weight = np.maximum(center - np.median(folded, axis=1), 0).astype(np.float64) ** 2
    return beats[: count * size].reshape(count, size).mean(axis=1), distance, weight


def _fit_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Fits slope and offset by least absolute deviations, by reweighted least squares."""
    if len(x) < 3 or weights.sum() <= 0:
        return 0.0, float(np.median(y)) if len(y) else 0.0
    robust, slope, offset = weights, 0.0, 0.0
    for _ in range(20):
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(robust))
        robust = weights / np.maximum(np.abs(y - offset - slope * x), 1.0)
    return float(slope), float(offset)
