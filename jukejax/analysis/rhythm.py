"""Rhythm: tempo, steadiness of the beat, kicks on every beat, similarity of bars to later bars.

Onsets are rises of a log mel spectrogram, from which `beats` computes the beats. A bar is four
beats.

Frames are `HOP` samples at `SAMPLE_RATE`: 172 a second. Letters: F frames, M mel bands.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
import soxr

from jukejax.analysis.beats import (
    FRAMES_PER_SECOND,
    HOP,
    SAMPLE_RATE,
    Beats,
    autocorrelation,
    compute_local_tempo,
    estimate_period,
    number_beats,
    peak_at_lag,
    track_beats,
)
from jukejax.analysis.mel import mel_filters

N_FFT = 1024
SHORTEST = 4.0  # seconds: shorter sounds are not measured
NO_PULSE = 0.1  # largest pulse of onsets without a tempo
KICK_HZ = (30.0, 110.0)
FLOOR_BPM = 92.0  # lower limit of the tempo for four on the floor; the upper limit is its double
BARS = (1, 4, 8, 16)
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 40, 40.0, 10_000.0
_BLOCK = 4096  # frames transformed at once


@dataclass(frozen=True)
class Onsets:
    """The spectrogram and the onset strengths of a sound.

    Attributes:
      mel: log mel spectrogram, float32 [F, M].
      all, kick: strength of onsets in all bands, and in the band of kick drums, float64 [F].
    """

    mel: np.ndarray = field(repr=False)
    all: np.ndarray = field(repr=False)
    kick: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Rhythm:
    """The figures of a sound; None if it is too short or has no pulse.

    Attributes:
      bpm: tempo.
      pulse: periodicity of the onsets at that tempo, -1 to 1 (Lartillot et al., 2008); also
        set if too weak for the other figures, 0 without onsets or in silence.
      beat_spread: standard deviation of the intervals between beats, percent of the beat.
      drift: largest deviation of the tempo of any 16 beats from that of the sound, percent.
      four_on_the_floor: clarity of kicks on each beat and nowhere else, 0 to 1.
      self_similarity: {n: correlation of a bar with the bar n bars later}, -1 to 1.
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

    def to_dict(self) -> dict[str, float | None]:
        """Returns the figures by name."""
        figures = {
            "tempo_bpm": self.bpm,
            "pulse": self.pulse,
            "beat_spread_percent": self.beat_spread,
            "tempo_drift_percent": self.drift,
            "four_on_the_floor": self.four_on_the_floor,
        }
        similarities = {f"similarity_{bars}_bars": self.self_similarity.get(bars) for bars in BARS}
        return figures | similarities

    def count_beats(self) -> dict[str, int]:
        """Returns the numbers of beats and of whole bars that the figures are over."""
        beats = len(self.beats)
        return {"num_beats": beats, "num_bars": max(beats - 1, 0) // 4}


def measure_rhythm(sound: np.ndarray, sample_rate: int) -> Rhythm:
    """Measures the rhythm of a sound, float [time] or [time, channels]."""
    mono = np.asarray(sound, np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    if len(mono) < SHORTEST * sample_rate:
        return _empty_rhythm(None)
    if not np.any(mono):
        return _empty_rhythm(0.0)
    onsets = detect_onsets(mono, sample_rate)
    period = estimate_period(onsets.all)
    if period is None:
        return _empty_rhythm(0.0)
    pulse = peak_at_lag(autocorrelation(onsets.all, 2 * period), period)
    steady = None
    if pulse > NO_PULSE:
        steady = number_beats(track_beats(onsets.all, period, _strength(onsets.kick)))
    if steady is None:
        return _empty_rhythm(pulse)
    seconds = steady.frames / FRAMES_PER_SECOND
    bpm = 60.0 * FRAMES_PER_SECOND / steady.period
    intervals = np.diff(steady.frames) / np.diff(steady.number) / steady.period
    local = compute_local_tempo(steady.number, seconds)
    return Rhythm(
        bpm=bpm,
        pulse=pulse,
        beat_spread=100 * float(intervals.std()),
        drift=100 * float(np.abs(local[1] / bpm - 1).max()) if len(local[1]) else None,
        four_on_the_floor=four_on_the_floor(onsets.kick, steady.period),
        self_similarity=self_similarity(onsets.mel, steady),
        beats=seconds,
        local=local,
    )


def _empty_rhythm(pulse: float | None) -> Rhythm:
    none = np.zeros(0)
    return Rhythm(None, pulse, None, None, None, {}, none, (none, none))


def detect_onsets(mono: np.ndarray, sample_rate: int) -> Onsets:
    """Computes spectrogram and onset strengths of a sound, float32 [time]."""
    if sample_rate != SAMPLE_RATE:
        mono = soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="HQ")
    filters = mel_filters(
        SAMPLE_RATE,
        n_fft=N_FFT,
        num_bands=_BANDS,
        lowest_hz=_LOWEST_HZ,
        highest_hz=_HIGHEST_HZ,
    ).T
    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    low = (bins >= KICK_HZ[0]) & (bins <= KICK_HZ[1])
    padded = np.pad(mono, (N_FFT // 2, N_FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    frames, window = frames[: 1 + len(mono) // HOP], np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    power_blocks, kick_blocks = [], []
    for start in range(0, len(frames), _BLOCK):
        spectrum = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window))
        power_blocks.append((spectrum**2 @ filters).astype(np.float32))
        kick_blocks.append(np.sqrt(np.square(spectrum[:, low]).sum(axis=1)))
    power, kick = np.concatenate(power_blocks), np.concatenate(kick_blocks)
    mel = np.log1p(power * (1e4 / max(float(power.max()), 1e-12)))
    return Onsets(mel, _strength(_rise(mel).mean(axis=1)), _rise(kick[:, None])[:, 0])


def _rise(values: np.ndarray, over: int = 2) -> np.ndarray:
    """Computes the rise of each column within `over` frames, 0 for a fall. [F, M]"""
    previous = np.concatenate([np.repeat(values[:1], over, axis=0), values[:-over]])
    return np.maximum(values - previous, 0)


def _strength(rise: np.ndarray) -> np.ndarray:
    """Subtracts the mean over a second and divides by a slowly varying level."""
    second = round(FRAMES_PER_SECOND)
    above = np.maximum(rise - scipy.ndimage.uniform_filter1d(rise, second), 0)
    power = scipy.ndimage.uniform_filter1d(np.square(above), 4 * second)
    level = np.maximum(power, 0) ** 0.5  # its running sum can round to less than zero
    return above / (level + 0.1 * level.max() + 1e-9)


def four_on_the_floor(kick: np.ndarray, period: float) -> float:
    """Measures how clearly the kick band repeats at each beat and not between, 0 to 1.

    This is the autocorrelation at one beat, minus the positive part of that at quarters of a beat:
    kicks on every second beat, offbeat basses and drones all lower it.

    Args:
      kick: onset strength of the kick band, [F].
      period: frames of a beat; doubled or halved to the range above `FLOOR_BPM`.
    """
    lowest = 60.0 / FLOOR_BPM * FRAMES_PER_SECOND
    period = period / 2 ** np.ceil(np.log2(period / lowest))
    correlation = autocorrelation(kick, 2 * period)
    between = max(peak_at_lag(correlation, share * period) for share in (0.25, 0.5, 0.75))
    return float(np.clip(peak_at_lag(correlation, period) - max(between, 0.0), 0.0, 1.0))


def self_similarity(mel: np.ndarray, beats: Beats) -> dict[int, float]:
    """Computes the mean correlation of bars with those 1, 4, 8 and 16 bars later.

    Bars are vectors of sixteenths and mel bands. Each band's mean over the sound is subtracted, so
    that a constant timbre does not count. Bars start at the first beat: their exact start does not
    matter for repetition.

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
