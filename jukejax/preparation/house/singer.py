"""A synthetic singing voice: a glottal pulse train filtered by moving formants.

Source and filter as in Klatt (1980); the filter is a spectral envelope, applied frame by frame. The
syllables have no meaning. The voice has the features that vocal removal must handle: vibrato,
gliding pitch, formants, consonants and breath.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import synth
from jukejax.preparation.house.synth import SAMPLE_RATE

FRAME, HOP = 1024, 256  # samples of the spectral envelope's frames
BLOCK = 64  # frames that are filtered at once

# First four formants of an adult male voice in Hz (Peterson and Barney, 1952; F4 rounded).
FORMANTS = {
    "a": (730.0, 1090.0, 2440.0, 3400.0),
    "e": (530.0, 1840.0, 2480.0, 3500.0),
    "i": (270.0, 2290.0, 3010.0, 3700.0),
    "o": (570.0, 840.0, 2410.0, 3300.0),
    "u": (300.0, 870.0, 2240.0, 3300.0),
}
BANDWIDTHS = (80.0, 100.0, 140.0, 220.0)
LEVELS = (1.0, 0.65, 0.42, 0.3)

# Onset: initial formants in Hz, voicing before the vowel, noise level, center of the noise in Hz.
ONSETS = {
    "": ((500.0, 1400.0, 2450.0, 3400.0), 0.5, 0.0, 3000.0),
    "m": ((250.0, 950.0, 2200.0, 3300.0), 0.35, 0.0, 3000.0),
    "n": ((260.0, 1650.0, 2500.0, 3400.0), 0.35, 0.0, 3000.0),
    "l": ((360.0, 1200.0, 2800.0, 3400.0), 0.5, 0.0, 3000.0),
    "y": ((270.0, 2250.0, 2950.0, 3600.0), 0.5, 0.0, 3000.0),
    "w": ((300.0, 650.0, 2200.0, 3300.0), 0.45, 0.0, 3000.0),
    "b": ((250.0, 800.0, 2200.0, 3300.0), 0.0, 0.25, 900.0),
    "d": ((280.0, 1750.0, 2650.0, 3500.0), 0.0, 0.3, 3500.0),
    "s": ((320.0, 1700.0, 2600.0, 3500.0), 0.0, 0.5, 7200.0),
    "sh": ((320.0, 1900.0, 2600.0, 3500.0), 0.0, 0.55, 3600.0),
}


@dataclass(frozen=True)
class Voice:
    """A voice; `size` scales the formants (female: 1.17), `center` is a MIDI note."""

    size: float = 1.0
    center: int = 57
    vibrato_hz: float = 5.5
    vibrato: float = 0.35  # semitones at full depth
    glide: float = 0.03  # portamento, seconds to cover 63 % of an interval
    breath: float = 0.06
    tilt: float = 1.1  # of the source's harmonics; higher is softer


@dataclass(frozen=True)
class Syllable:
    """A sung syllable."""

    start: float  # seconds
    length: float  # seconds
    note: float  # MIDI
    onset: str
    vowel: str
    end_vowel: str  # equal to `vowel` but for diphthongs
    level: float = 1.0

    @property
    def text(self) -> str:
        """Returns the syllable in letters, such as `sha` or the diphthong `lai`."""
        return self.onset + self.vowel + (self.end_vowel if self.end_vowel != self.vowel else "")


def _plan_contours(
    syllables: Sequence[Syllable], voice: Voice, length: int, rng: RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pitch in Hz [frames], formants [frames, 4], voicing [frames]; HOP samples apart."""
    frames = length // HOP + 1
    rate = SAMPLE_RATE / HOP
    time = np.arange(frames) / rate
    target = np.full(frames, float(syllables[0].note))
    formants = np.tile(FORMANTS["a"], (frames, 1))
    voicing = np.zeros(frames)
    depth = np.zeros(frames)
    for syllable in syllables:
        first = int(syllable.start * rate)
        last = min(frames, int((syllable.start + syllable.length) * rate) + 1)
        inside = time[first:last] - syllable.start  # seconds since the syllable's start
        scoop = rng.uniform(0.0, 1.2)
        target[first:] = syllable.note  # constant during the rest before the next syllable
        target[first:last] -= scoop * np.exp(-np.maximum(inside, 0.0) / 0.04)
        place, murmur, _, _ = ONSETS[syllable.onset]
        open_mouth = np.clip((inside - 0.02) / 0.07, 0.0, 1.0)
        toward = np.clip(inside / syllable.length * 1.6 - 0.6, 0.0, 1.0)[:, None]
        vowel = np.asarray(FORMANTS[syllable.vowel]) * (1 - toward)
        vowel = vowel + np.asarray(FORMANTS[syllable.end_vowel]) * toward
        formants[first:last] = vowel * open_mouth[:, None] + np.asarray(place) * (
            1 - open_mouth[:, None]
        )
        swell = murmur + (1.0 - murmur) * open_mouth
        rise = np.clip((inside + 0.005) / 0.02, 0.0, 1.0)
        fall = np.clip((syllable.length - inside) / 0.06, 0.0, 1.0)
        voicing[first:last] = syllable.level * swell * rise * fall
        depth[first:last] = np.clip((inside - 0.16) / 0.3, 0.0, 1.0)
    # One-pole smoothing is the portamento; a slow random walk makes the pitch less regular.
    pitch = target.copy()
    smoothing = np.exp(-1.0 / (voice.glide * rate))
    drift = 0.0
    for i in range(1, frames):
        pitch[i] = target[i] + smoothing * (pitch[i - 1] - target[i])
    for i, push in enumerate(rng.uniform(-0.012, 0.012, frames)):
        drift = 0.97 * drift + push
        pitch[i] += drift
    pitch += voice.vibrato * depth * np.sin(2 * np.pi * voice.vibrato_hz * time)
    return synth.midi_to_hz(pitch), formants * voice.size, voicing


def _filter_by_formants(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Filters source [time] by the formants [frames, 4] of each frame (overlap-add)."""
    window = np.sin(np.pi * (np.arange(FRAME) + 0.5) / FRAME)  # its square sums to 2 at hop = 1/4
    padded = np.pad(source, FRAME)
    count = (len(source) + FRAME - 1) // HOP + 1
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[: count * HOP : HOP]
    # Frame i is centered on sample i * HOP - FRAME / 2 of the source.
    center = np.clip(np.arange(count) - FRAME // (2 * HOP), 0, len(formants) - 1)
    out = np.zeros(len(padded) + FRAME)
    for first in range(0, count, BLOCK):
        block = slice(first, min(first + BLOCK, count))
        spectra = np.fft.rfft(frames[block] * window)  # [frames, bins]
        spectra *= _shape_spectrum(formants[center[block]])
        filtered = np.fft.irfft(spectra)
        filtered *= 0.5 * window
        quarters = filtered.reshape(-1, FRAME // HOP, HOP)
        for quarter in range(FRAME // HOP):
            at = (first + quarter) * HOP
            out[at : at + len(quarters) * HOP] += quarters[:, quarter].reshape(-1)
    return out[FRAME : FRAME + len(source)]


def _shape_spectrum(formants: np.ndarray) -> np.ndarray:
    """Returns the gain of formants [frames, 4] at the frequencies of a frame, [frames, bins]."""
    bins = np.arange(FRAME // 2 + 1) * (SAMPLE_RATE / FRAME)
    envelope = np.full((len(formants), len(bins)), 0.004)
    for k, (bandwidth, level) in enumerate(zip(BANDWIDTHS, LEVELS, strict=True)):
        distance = bins - formants[:, k, None]
        distance *= 2.0 / bandwidth
        distance *= distance
        distance += 1.0
        np.sqrt(distance, out=distance)
        envelope += np.divide(level, distance, out=distance)
    return envelope


def _render_consonants(syllables: Sequence[Syllable], length: int, rng: RandomState) -> np.ndarray:
    """Renders the noise of the onsets, [length]."""
    out = np.zeros(length)
    for syllable in syllables:
        _, _, strength, center = ONSETS[syllable.onset]
        if strength == 0.0:
            continue
        hiss = syllable.onset.startswith("s")
        seconds = 0.09 if hiss else 0.03
        burst = synth.bandpass(synth.noise(rng, int(seconds * SAMPLE_RATE)), center, 1.5)
        burst = synth.fade(burst, 0.03 if hiss else 0.001, 0.04 if hiss else 0.02)
        start = max(0, int((syllable.start + 0.02 - 0.6 * seconds) * SAMPLE_RATE))
        synth.add(out, burst, start, 0.35 * strength * syllable.level)
    return out


def sing(
    syllables: Sequence[Syllable], voice: Voice, length: int, rng: RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Renders syllables; returns the dry voice and its voicing (0 where silent), both [length]."""
    if not syllables:
        return np.zeros(length), np.zeros(length)
    pitch, formants, voicing = _plan_contours(syllables, voice, length, rng)
    position = np.arange(length) / HOP
    grid = np.arange(len(pitch))
    frequency = np.interp(position, grid, pitch)
    voiced = np.interp(position, grid, voicing)
    table = synth.wavetable(synth.harmonics(float(pitch.max()), voice.tilt))
    pulses = synth.oscillator(table, frequency, length)
    air = synth.highpass(synth.noise(rng, length), 1500.0)
    shaped = _filter_by_formants((pulses + voice.breath * air) * voiced, formants)
    return shaped + _render_consonants(syllables, length, rng), voiced
