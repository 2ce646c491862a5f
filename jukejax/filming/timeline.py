"""Computes what a video shows at each of its frames: spectrum, kicks and beats.

A frame is displayed from n / fps to (n + 1) / fps seconds; it shows the middle of this interval.

Letters: N video frames, B bands, M mel bands, F frames of the mel spectrogram.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from jukejax.analysis import mel
from jukejax.data.audio import Samples
from jukejax.data.grid import BEATS_PER_BAR, Grid

MEL_HOP = 441  # samples
NUM_BANDS = 64  # of the shape
RANGE_DB = 66.0  # from black to the brightest color
_DECIMALS = 2  # of decibels
_BLOCK = 2048  # mel frames computed at once
_LOUDEST = 0.995  # quantile of the spectrogram that is the brightest color
_CONTRAST = 1.5  # exponent that darkens soft sounds
_SILENCE_DB = -70.0  # the brightest color is at least this level
_SHAPE_BANDS = 84  # the lowest mel bands, up to 14 kHz
_BAND_RANGE = (0.10, 0.99)  # quantiles of a band that are 0 and 1 in the shape
_LEAST_RANGE = 0.08  # between them: bands that hardly move are not enlarged to it
_RELEASE = 0.16  # seconds in which a band falls to 1 / e
_KICK_BANDS = 10  # the lowest mel bands, up to 200 Hz
_KICK_SECONDS = 0.13
_FLASH_SECONDS = 0.12
_BEAT_FLASH = 0.6  # brightness of a beat that is no downbeat


@dataclass(frozen=True)
class Timeline:
    """The features of a track.

    Attributes:
      fps: frames a second.
      seconds: length of the sound.
      times: seconds that the frames show, float64 [N].
      mel: the spectrogram, 0 (black) to 1, float32 [F, M], a frame every `MEL_HOP` samples.
      mel_rate: its frames a second.
      spectrum: levels of the bands in their own range, falling slowly, 0 to 1, float32 [N, B].
      kick: strength of the last kick, falling, 0 to 1, float32 [N].
      beats: number of the beat from the first downbeat, with its fraction, float64 [N]; None
        without a grid.
      flash: brightness of the last beat, falling, 0 to 1, float32 [N]; 0 without a grid.
      beat_seconds, first_downbeat: the grid in seconds; None without one.
    """

    fps: int
    seconds: float
    times: np.ndarray = field(repr=False)
    mel: np.ndarray = field(repr=False)
    mel_rate: float
    spectrum: np.ndarray = field(repr=False)
    kick: np.ndarray = field(repr=False)
    beats: np.ndarray | None = field(repr=False)
    flash: np.ndarray = field(repr=False)
    beat_seconds: float | None = None
    first_downbeat: float | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def bar_seconds(self) -> float | None:
        """Returns the length of a bar; None without a grid."""
        return None if self.beat_seconds is None else BEATS_PER_BAR * self.beat_seconds


def make_timeline(sound: Samples, sample_rate: int, grid: Grid, fps: int) -> Timeline:
    """Computes the features of a sound [time, channels].

    Args:
      grid: at the sample rate of the sound.
    """
    seconds = len(sound) / sample_rate
    times = (np.arange(count_frames(seconds, fps)) + 0.5) / fps
    levels = scale_levels(compute_mel(sound, sample_rate))
    rate = sample_rate / MEL_HOP
    beats, flash = None, np.zeros(len(times), np.float32)
    beat_seconds = first = None
    if grid.bpm is not None and grid.first_downbeat is not None:
        beat_seconds, first = 60 / grid.bpm, grid.first_downbeat / sample_rate
        beats = (times - first) / beat_seconds
        flash = _compute_flash(beats, beat_seconds)
    return Timeline(
        fps=fps,
        seconds=seconds,
        times=times,
        mel=levels,
        mel_rate=rate,
        spectrum=_compute_spectrum(levels, rate, times),
        kick=_compute_kick(levels, rate, times),
        beats=beats,
        flash=flash,
        beat_seconds=beat_seconds,
        first_downbeat=first,
    )


def count_frames(seconds: float, fps: int) -> int:
    """Returns the number of frames that last as long as the sound, or up to one frame longer."""
    return max(1, math.ceil(seconds * fps - 1e-6))


def compute_mel(sound: Samples, sample_rate: int) -> np.ndarray:
    """Computes the mel spectrogram of a sound of any length, dB of full scale, float32 [F, M]."""
    filters, side = mel.mel_filters(sample_rate), mel.N_FFT // 2
    num_frames = 1 + (len(sound) - 1) // MEL_HOP
    blocks = []
    for first in range(0, num_frames, _BLOCK):
        count = min(_BLOCK, num_frames - first)
        start = first * MEL_HOP - side
        stop = start + (count - 1) * MEL_HOP + mel.N_FFT
        mono = np.asarray(sound[max(start, 0) : stop]).mean(axis=1)
        after = stop - max(start, 0) - len(mono)
        padded = np.pad(mono, (max(-start, 0), after))
        power = mel.mel_power(padded, filters, hop=MEL_HOP, num_frames=count)
        power /= mel.full_scale_power(mel.N_FFT)
        floor = 10 ** (mel.FLOOR_DB / 10)
        decibels = 10 * np.log10(np.maximum(power, floor))
        # Sums of matrix products differ in their last bits from call to call; the rounded values
        # do not, so that the same command writes the same file.
        blocks.append(np.round(decibels, _DECIMALS).astype(np.float32))
    return np.concatenate(blocks)


def scale_levels(decibels: np.ndarray) -> np.ndarray:
    """Scales a spectrogram to 0 to 1; its loudest tones are at 1."""
    loudest = max(float(np.quantile(decibels, _LOUDEST)), _SILENCE_DB)
    return np.clip((decibels - loudest) / RANGE_DB + 1, 0, 1) ** _CONTRAST


def _compute_spectrum(levels: np.ndarray, rate: float, times: np.ndarray) -> np.ndarray:
    """Returns the levels of the bands at the frames; they rise at once and fall slowly.

    Each band is scaled to its own range in the track, as the bass alone would be seen otherwise.
    """
    edges = np.linspace(0, _SHAPE_BANDS, NUM_BANDS + 1)
    bands = [_average_bands(levels, low, high) for low, high in itertools.pairwise(edges)]
    wide = np.stack(bands, axis=1)
    low, high = np.quantile(wide, _BAND_RANGE, axis=0)
    wide = np.clip((wide - low) / np.maximum(high - low, _LEAST_RANGE), 0, 1).astype(np.float32)
    at = np.minimum((times * rate).astype(np.int64), len(levels) - 1)
    current = wide[at]
    fall = math.exp(-(times[1] - times[0]) / _RELEASE) if len(times) > 1 else 0.0
    for n in range(1, len(current)):
        np.maximum(current[n], fall * current[n - 1], out=current[n])
    return current


def _average_bands(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Averages mel bands `low` to `high`, which may be fractions of a band."""
    bands = np.arange(levels.shape[1])
    weights = np.clip(np.minimum(bands + 1, high) - np.maximum(bands, low), 0, 1)
    mean = levels.astype(np.float64) @ (weights / weights.sum())
    return np.round(mean, _DECIMALS + 2).astype(np.float32)


def _compute_kick(levels: np.ndarray, rate: float, times: np.ndarray) -> np.ndarray:
    """Returns the strength of the last rise of the bass at the frames."""
    low = levels[:, :_KICK_BANDS].mean(axis=1)
    step = max(round(0.03 * rate), 1)
    rise = np.maximum(low - np.concatenate([np.zeros(step), low[:-step]])[: len(low)], 0)
    usual = float(np.quantile(rise, 0.98))
    strength = np.clip(rise / max(usual, 0.05), 0, 1)
    fall = math.exp(-1 / (rate * _KICK_SECONDS))
    for n in range(1, len(strength)):
        strength[n] = max(strength[n], fall * strength[n - 1])
    at = np.minimum((times * rate).astype(np.int64), len(levels) - 1)
    return strength[at].astype(np.float32)


def _compute_flash(beats: np.ndarray, beat_seconds: float) -> np.ndarray:
    """Returns the brightness of the last beat at the frames."""
    number = np.floor(beats)
    since = (beats - number) * beat_seconds
    strength = np.where(number % BEATS_PER_BAR == 0, 1.0, _BEAT_FLASH)
    return (strength * np.exp(-since / _FLASH_SECONDS)).astype(np.float32)
