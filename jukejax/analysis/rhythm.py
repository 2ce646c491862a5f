"""Rhythm: tempo, how steady the beat is, whether a kick falls on every beat, whether bars return.

Onsets are rises of a log mel spectrogram; the tempo comes from their autocorrelation and a comb of
multiples (Scheirer, 1998; Klapuri et al., 2006), beats from dynamic programming at that tempo
(Ellis, "Beat Tracking by Dynamic Programming", 2007). A bar is four beats.

Frames are `HOP` samples at `SAMPLE_RATE`: 172 a second. Letters: F frames, M mel bands.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import soxr

from jukejax.analysis.pictures import mel_filters

SAMPLE_RATE, N_FFT, HOP = 22_050, 1024, 128
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
SLOWEST, FASTEST = 60.0, 190.0  # BPM that are looked for
USUAL, OCTAVES = 130.0, 0.9  # BPM that is expected of records to dance to, and its spread
SHORTEST = 4.0  # seconds under which nothing is said
NO_PULSE = 0.1  # onsets that are no more periodic than this have no tempo
KICK_HZ = (30.0, 110.0)
FLOOR_BPM = 92.0  # four to the floor is looked for from here to twice that
BARS = (1, 4, 8, 16)
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 40, 40.0, 10_000.0
_BLOCK = 4096  # frames worked on at once
_TEETH = 8  # multiples of a period that a tempo is judged by
_SPAN = 16  # beats of a local tempo
_TIGHTNESS = 1600  # of the beats: breaks without drums are crossed at the tempo around them
_NEAR, _HEARD = 0.07, 0.25  # shares: of a beat, where its onset is; of the usual onset's strength


@dataclass(frozen=True)
class Onsets:
    """What the rest is read from.

    Attributes:
      mel: log mel spectrogram, float32 [F, M].
      all, kick: strength of onsets in all bands, and in the band of kick drums, float64 [F].
    """

    mel: np.ndarray = field(repr=False)
    all: np.ndarray = field(repr=False)
    kick: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Rhythm:
    """The figures of a sound; None where it is too short or has no pulse to measure.

    Attributes:
      bpm: tempo.
      pulse: how periodic the onsets are at that tempo, -1 to 1 (Lartillot et al., 2008); known
        also where it is too weak for the rest.
      beat_spread: standard deviation of the intervals between beats, percent of the beat.
      drift: largest departure of the tempo of any 16 beats from that of the whole, percent.
      four_on_the_floor: clarity of kicks on each beat and on nothing else, 0 to 1.
      self_similarity: {bars: likeness of a bar to the bar so many later}, -1 to 1.
      beats: seconds, float64 [beats].
      local: seconds and BPM of the tempo over 16 beats, float64 [n] each.
    """

    bpm: float | None
    pulse: float | None
    beat_spread: float | None
    drift: float | None
    four_on_the_floor: float | None
    self_similarity: dict[int, float]
    beats: np.ndarray = field(repr=False)
    local: tuple[np.ndarray, np.ndarray] = field(repr=False)

    def table(self) -> dict[str, float | None]:
        """The figures by name."""
        named = {
            "tempo_bpm": self.bpm,
            "pulse": self.pulse,
            "beat_spread_percent": self.beat_spread,
            "tempo_drift_percent": self.drift,
            "four_on_the_floor": self.four_on_the_floor,
        }
        likeness = {f"similarity_{bars}_bars": self.self_similarity.get(bars) for bars in BARS}
        return named | likeness


def measure(sound: np.ndarray, sample_rate: int) -> Rhythm:
    """The rhythm of a sound, float [time] or [time, channels]."""
    mono = np.asarray(sound, np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    if len(mono) < SHORTEST * sample_rate or not np.any(mono):
        return _nothing(None)
    found = onsets(mono, sample_rate)
    period = beat_period(found.all)
    if period is None:
        return _nothing(None)
    pulse = at_lag(autocorrelation(found.all, 2 * period), period)
    steady = steady_beats(track_beats(found.all, period)) if pulse > NO_PULSE else None
    if steady is None:
        return _nothing(pulse)
    seconds = steady.frames / FRAMES_PER_SECOND
    bpm = 60.0 * FRAMES_PER_SECOND / steady.period
    intervals = np.diff(steady.frames) / np.diff(steady.number) / steady.period
    local = local_tempo(steady.number, seconds)
    return Rhythm(
        bpm=bpm,
        pulse=pulse,
        beat_spread=100 * float(intervals.std()),
        drift=100 * float(np.abs(local[1] / bpm - 1).max()) if len(local[1]) else None,
        four_on_the_floor=four_on_the_floor(found.kick, steady.period),
        self_similarity=self_similarity(found.mel, steady),
        beats=seconds,
        local=local,
    )


def _nothing(pulse: float | None) -> Rhythm:
    none = np.zeros(0)
    return Rhythm(None, pulse, None, None, None, {}, none, (none, none))


def onsets(mono: np.ndarray, sample_rate: int) -> Onsets:
    """Spectrogram and onset strengths of a sound, float32 [time]."""
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    filters = mel_filters(SAMPLE_RATE, N_FFT, _BANDS, _LOWEST_HZ, _HIGHEST_HZ).T
    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    low = (bins >= KICK_HZ[0]) & (bins <= KICK_HZ[1])
    padded = np.pad(mono, (N_FFT // 2, N_FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    frames, window = frames[: 1 + len(mono) // HOP], np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    mel, kick = [], []
    for start in range(0, len(frames), _BLOCK):
        spectrum = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window))
        mel.append((spectrum**2 @ filters).astype(np.float32))
        kick.append(np.sqrt(np.square(spectrum[:, low]).sum(axis=1)))
    power, low_level = np.concatenate(mel), np.concatenate(kick)
    mel = np.log1p(power * (1e4 / max(float(power.max()), 1e-12)))
    return Onsets(mel, _strength(_rise(mel).mean(axis=1)), _rise(low_level[:, None])[:, 0])


def _rise(values: np.ndarray, over: int = 2) -> np.ndarray:
    """How much each column rose within `over` frames, 0 where it fell. [F, M]"""
    before = np.concatenate([np.repeat(values[:1], over, axis=0), values[:-over]])
    return np.maximum(values - before, 0)


def _strength(rise: np.ndarray) -> np.ndarray:
    """What stands out of its surroundings (a second), at a level that does not follow theirs."""
    around = round(FRAMES_PER_SECOND)
    above = np.maximum(rise - scipy.ndimage.uniform_filter1d(rise, around), 0)
    level = scipy.ndimage.uniform_filter1d(np.square(above), 4 * around) ** 0.5
    return above / (level + 0.1 * level.max() + 1e-9)


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


def four_on_the_floor(kick: np.ndarray, period: float) -> float:
    """How clearly the kick band returns at each beat and not between, 0 to 1.

    The autocorrelation at one beat, less that at the quarters of it where it is positive: kicks on
    every second beat, offbeat basses and drones all lower it.

    Args:
      kick: onset strength of the kick band, [F].
      period: frames of a beat; of double or half the tempo where that is one to dance to.
    """
    lowest = 60.0 / FLOOR_BPM * FRAMES_PER_SECOND
    period = period / 2 ** np.ceil(np.log2(period / lowest))
    correlation = autocorrelation(kick, 2 * period)
    between = max(at_lag(correlation, share * period) for share in (0.25, 0.5, 0.75))
    return float(np.clip(at_lag(correlation, period) - max(between, 0.0), 0.0, 1.0))


def self_similarity(mel: np.ndarray, beats: Beats) -> dict[int, float]:
    """Mean correlation of bars with those 1, 4, 8 and 16 later, by sixteenths and mel bands.

    Each band's mean over the sound is taken off: that a record sounds like itself counts nothing.
    Bars are laid from the first beat on: where exactly they begin does not matter to a repetition.

    Args:
      mel: log mel spectrogram, [F, M].
    """
    bars = int(beats.number[-1]) // 4
    if not bars:
        return {}
    grid = np.interp(np.arange(16 * bars + 1) / 4, beats.number, beats.frames)
    edges = np.clip(np.rint(grid).astype(np.int64), 0, len(mel))
    sums = np.concatenate([np.zeros((1, mel.shape[1])), np.cumsum(mel, axis=0, dtype=np.float64)])
    steps = (sums[edges[1:]] - sums[edges[:-1]]) / np.maximum(np.diff(edges), 1)[:, None]
    vectors = (steps - steps.mean(axis=0)).reshape(bars, -1)
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(norms > 1e-6, norms, np.inf)[:, None]
    return {
        lag: float((unit[lag:] * unit[:-lag]).sum(axis=1).mean()) for lag in BARS if bars >= lag + 2
    }
