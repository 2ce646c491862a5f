"""Oscillators, filters and effects of the house corpus, in NumPy and SciPy.

Everything is float64, random draws are uniform (Gaussians use libm) and there are no matrix
products (their order of summation depends on the processor): differences in the last bits
between two machines then vanish in the rounding to 16 bits at the end of `studio.track`, so that
the corpus is the same on all machines. Mono signals are [time], stereo [2, time].
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState
from scipy import signal

SAMPLE_RATE = 44_100
BLOCK = 1 << 15  # samples that are processed at once, so that they stay in the cache
TABLE_SIZE = 2048  # one period; a power of two, so that wrapping is a bit mask


def clock(length: int) -> np.ndarray:
    """Returns the time in seconds of each of `length` samples."""
    return np.arange(length) / SAMPLE_RATE


def decay(length: int, seconds: float) -> np.ndarray:
    """Returns an exponential decay to 1/e in `seconds`, [length]."""
    return np.exp(-clock(length) / seconds)


def fade(sound: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Applies linear ramps at both ends (in seconds), which prevents clicks."""
    out = sound.copy()
    fade_ends(out, attack, release)
    return out


def fade_ends(sound: np.ndarray, attack: float, release: float) -> None:
    """Applies `fade` in place."""
    rise = min(sound.shape[-1], max(1, int(attack * SAMPLE_RATE)))
    fall = min(sound.shape[-1], max(1, int(release * SAMPLE_RATE)))
    sound[..., :rise] *= np.arange(1, rise + 1) / rise
    sound[..., -fall:] *= np.arange(fall, 0, -1) / fall


def noise(rng: RandomState, length: int) -> np.ndarray:
    """Draws uniform noise in [-1, 1), [length]."""
    return rng.uniform(-1.0, 1.0, length)


def midi_to_hz(note: float | np.ndarray) -> np.ndarray:
    """Converts MIDI notes to frequencies in Hz."""
    return 440.0 * 2.0 ** ((np.asarray(note) - 69.0) / 12.0)


def silence(*shape: int) -> np.ndarray:
    """Returns noise at -300 dB, as filters whose output decays to zero are slow on denormals."""
    return np.resize(1e-15 * noise(RandomState(0), 4093), shape)


# Oscillators.


def wavetable(amplitudes: np.ndarray) -> np.ndarray:
    """Computes one period of a sum of sines; `amplitudes[k]` is that of harmonic k + 1."""
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * TABLE_SIZE * np.asarray(amplitudes)
    return np.fft.irfft(spectrum)


def harmonics(frequency: float, tilt: float, cutoff: float = 16_000.0) -> np.ndarray:
    """Returns amplitudes 1/k^tilt of harmonics, falling by 12 dB per octave above `cutoff`.

    tilt = 1 is a sawtooth. There are none above 20 kHz, so that the oscillators do not alias.
    """
    k = np.arange(1, max(2, min(TABLE_SIZE // 2, int(20_000 / frequency))))
    return k**-tilt / (1.0 + (k * frequency / cutoff) ** 2)


def oscillator(
    table: np.ndarray, frequency: float | np.ndarray, length: int, phase: float = 0.0
) -> np.ndarray:
    """Plays a wavetable; `frequency` in Hz is one number or [length], `phase` in periods."""
    if not isinstance(frequency, np.ndarray):
        cycles = np.arange(length) * (frequency / SAMPLE_RATE)
    else:
        cycles = np.cumsum(frequency)
        cycles *= 1.0 / SAMPLE_RATE
    cycles += phase
    cycles *= TABLE_SIZE
    index = cycles.astype(np.int64)
    cycles -= index  # the fraction between two entries of the table
    index &= TABLE_SIZE - 1
    step = np.roll(table, -1) - table
    cycles *= step.take(index)
    cycles += table.take(index)
    return cycles


def fm(
    frequency: float, length: int, *, ratio: float, index: float, index_decay: float
) -> np.ndarray:
    """Renders two-operator FM: a sine whose phase a decaying sine modulates (Chowning, 1973)."""
    angle = 2 * np.pi * frequency * clock(length)
    return np.sin(angle + index * decay(length, index_decay) * np.sin(ratio * angle))


# Filters: the second-order sections of R. Bristow-Johnson's "Audio EQ Cookbook".


def _design_filter(kind: str, cutoff: float, q: float) -> np.ndarray:
    """Returns the second-order section of a filter, [1, 6]."""
    omega = 2 * np.pi * min(cutoff, 20_000.0) / SAMPLE_RATE
    cosine, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    numerator = {
        "low": ((1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2),
        "high": ((1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2),
        "band": (alpha, 0.0, -alpha),
    }[kind]
    return np.array([[*numerator, 1 + alpha, -2 * cosine, 1 - alpha]]) / (1 + alpha)


def lowpass(sound: np.ndarray, cutoff: float, q: float = 0.707) -> np.ndarray:
    """Applies a low-pass filter; `cutoff` in Hz."""
    return signal.sosfilt(_design_filter("low", cutoff, q), sound)


def highpass(sound: np.ndarray, cutoff: float, q: float = 0.707) -> np.ndarray:
    """Applies a high-pass filter; `cutoff` in Hz."""
    return signal.sosfilt(_design_filter("high", cutoff, q), sound)


def bandpass(sound: np.ndarray, center: float, q: float = 0.707) -> np.ndarray:
    """Applies a band-pass filter; `center` in Hz."""
    return signal.sosfilt(_design_filter("band", center, q), sound)


def sweep(
    sound: np.ndarray,
    cutoff_at: Callable[[np.ndarray], np.ndarray],
    *,
    q: float = 0.707,
    kind: str = "low",
    block: int = 1024,
) -> np.ndarray:
    """Applies a filter with a moving cutoff, `cutoff_at(samples)` in Hz at each block's start."""
    out = np.empty_like(sound)
    state = np.zeros((1, *sound.shape[:-1], 2))
    starts = np.arange(0, sound.shape[-1], block)
    for start, cutoff in zip(starts, cutoff_at(starts), strict=True):
        samples = slice(start, start + block)
        out[..., samples], state = signal.sosfilt(
            _design_filter(kind, cutoff, q), sound[..., samples], zi=state
        )
    return out


# Effects.


def soft_clip(sound: np.ndarray) -> np.ndarray:
    """Saturates like tanh (its Pade approximant); reaches 1 at 3."""
    out = np.empty_like(sound)
    for start in range(0, sound.shape[-1], BLOCK):
        block = np.clip(sound[..., start : start + BLOCK], -3.0, 3.0)
        square = block * block
        block *= square + 27.0
        square *= 9.0
        square += 27.0
        np.divide(block, square, out=out[..., start : start + BLOCK])
    return out


def add_band(sound: np.ndarray, center: float, q: float, gain: float) -> None:
    """Adds `gain` times the band around `center` Hz to a sound, in place."""
    section = _design_filter("band", center, q)
    state = np.zeros((1, *sound.shape[:-1], 2))
    for start in range(0, sound.shape[-1], BLOCK):
        block = sound[..., start : start + BLOCK]
        band, state = signal.sosfilt(section, block, zi=state)
        band *= gain
        block += band


def echo(sound: np.ndarray, delay: int, feedback: float) -> np.ndarray:
    """Computes y[n] = x[n] + feedback * y[n - delay]."""
    out = sound.copy()
    repeat(out, delay, feedback)
    return out


def repeat(sound: np.ndarray, delay: int, feedback: float) -> None:
    """Applies `echo` in place, a block of `delay` samples at a time."""
    for start in range(delay, sound.shape[-1], delay):
        block = sound[..., start : start + delay]
        block += feedback * sound[..., start - delay : start - delay + block.shape[-1]]


def reverb(sound: np.ndarray, *, decay_seconds: float, damping: float) -> np.ndarray:
    """Computes the reverberation of mono [time], stereo [2, time] (Schroeder, 1962).

    Parallel comb filters and an allpass, at half the sample rate: little is above 6 kHz.

    Args:
      decay_seconds: time of a decay by 60 dB.
      damping: cutoff of the low-pass in Hz.
    """
    length = sound.shape[-1]
    source = bandpass(lowpass(sound, damping), 900.0, 0.4)[::2]
    wet = np.zeros((2, len(source)))
    for channel, delays in enumerate(((778, 808, 638, 711), (790, 820, 650, 722))):
        for sign, delay in zip((1, -1, 1, -1), delays, strict=True):
            loss = 10.0 ** (-6.0 * delay / (decay_seconds * SAMPLE_RATE))
            wet[channel] += sign * echo(source, delay, loss)
    # The allpass increases the density of the four series of echoes.
    thick = echo(wet, 278, 0.5)
    thick *= 0.75
    thick[:, 278:] -= 0.5 * wet[:, :-278]
    thick *= 0.5
    out = np.empty((2, length))
    out[:, ::2] = thick
    out[:, 1:-1:2] = 0.5 * (thick[:, : (length - 1) // 2] + thick[:, 1 : (length + 1) // 2])
    out[:, -1] = thick[:, -1]
    return out


def add(bus: np.ndarray, sound: np.ndarray, start: int, gain: float = 1.0) -> None:
    """Adds a sound to `bus` [..., time] at sample `start`, cut off at the end of the bus."""
    length = min(sound.shape[-1], bus.shape[-1] - start)
    if length > 0:
        bus[..., start : start + length] += gain * sound[..., :length]
