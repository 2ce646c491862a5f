"""Oscillators, filters and effects of the embedded corpus, in NumPy and SciPy.

Everything is float64, random draws are uniform (Gaussians pass through libm) and no product of
matrices is used (its order of summation is the processor's choice): last-bit differences between
two machines then vanish in the rounding to 16 bits at the end of `studio.track`, and the corpus is
the same everywhere. Mono signals are [time], stereo [2, time].
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState
from scipy import signal

SAMPLE_RATE = 44_100
TABLE_SIZE = 2048  # one period; a power of two, so that wrapping is a bit mask


def clock(length: int) -> np.ndarray:
    """Time in seconds of each of `length` samples."""
    return np.arange(length) / SAMPLE_RATE


def decay(length: int, seconds: float) -> np.ndarray:
    """Exponential decay that falls to 1/e in `seconds`."""
    return np.exp(-clock(length) / seconds)


def fade(sound: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Linear ramps at both ends (seconds), so that no note starts or stops with a click."""
    out = sound.copy()
    rise = min(sound.shape[-1], max(1, int(attack * SAMPLE_RATE)))
    fall = min(sound.shape[-1], max(1, int(release * SAMPLE_RATE)))
    out[..., :rise] *= np.arange(1, rise + 1) / rise
    out[..., -fall:] *= np.arange(fall, 0, -1) / fall
    return out


def noise(rng: RandomState, length: int) -> np.ndarray:
    return rng.uniform(-1.0, 1.0, length)


def midi_to_hz(note):
    return 440.0 * 2.0 ** ((np.asarray(note) - 69.0) / 12.0)


def silence(*shape: int) -> np.ndarray:
    """Noise at -300 dB to mix into: filters that ring out into zeros crawl on denormal numbers."""
    return np.resize(1e-15 * noise(RandomState(0), 4093), shape)


# Oscillators.


def wavetable(amplitudes: np.ndarray) -> np.ndarray:
    """One period of a sum of sines; `amplitudes[k]` belongs to harmonic k + 1."""
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * TABLE_SIZE * np.asarray(amplitudes)
    return np.fft.irfft(spectrum)


def harmonics(frequency: float, tilt: float, cutoff: float = 16_000.0) -> np.ndarray:
    """Amplitudes 1/k^tilt of the harmonics of `frequency`, 12 dB an octave less above `cutoff`.

    tilt = 1 is a sawtooth. Nothing lies above 20 kHz: the oscillators do not alias.
    """
    k = np.arange(1, max(2, min(TABLE_SIZE // 2, int(20_000 / frequency))))
    return k**-tilt / (1.0 + (k * frequency / cutoff) ** 2)


def oscillator(table: np.ndarray, frequency, length: int, phase: float = 0.0) -> np.ndarray:
    """Plays a wavetable; `frequency` in Hz is one number or [length], `phase` in periods."""
    if np.ndim(frequency) == 0:
        cycles = np.arange(length) * (frequency / SAMPLE_RATE)
    else:
        cycles = np.cumsum(frequency)
        cycles *= 1.0 / SAMPLE_RATE
    cycles += phase
    cycles *= TABLE_SIZE
    index = cycles.astype(np.int64)
    cycles -= index  # now the distance from one entry of the table towards the next
    index &= TABLE_SIZE - 1
    step = np.roll(table, -1) - table
    cycles *= step.take(index)
    cycles += table.take(index)
    return cycles


def fm(
    frequency: float, length: int, *, ratio: float, index: float, index_decay: float
) -> np.ndarray:
    """Two-operator FM: a sine whose phase a second sine, dying away, shakes (Chowning, 1973)."""
    angle = 2 * np.pi * frequency * clock(length)
    return np.sin(angle + index * decay(length, index_decay) * np.sin(ratio * angle))


# Filters: the second-order sections of R. Bristow-Johnson's "Audio EQ Cookbook".


def _section(kind: str, cutoff: float, q: float) -> np.ndarray:
    omega = 2 * np.pi * min(cutoff, 20_000.0) / SAMPLE_RATE
    cosine, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    numerator = {
        "low": ((1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2),
        "high": ((1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2),
        "band": (alpha, 0.0, -alpha),
    }[kind]
    return np.array([[*numerator, 1 + alpha, -2 * cosine, 1 - alpha]]) / (1 + alpha)


def lowpass(sound: np.ndarray, cutoff: float, q: float = 0.707) -> np.ndarray:
    return signal.sosfilt(_section("low", cutoff, q), sound)


def highpass(sound: np.ndarray, cutoff: float, q: float = 0.707) -> np.ndarray:
    return signal.sosfilt(_section("high", cutoff, q), sound)


def bandpass(sound: np.ndarray, centre: float, q: float = 0.707) -> np.ndarray:
    return signal.sosfilt(_section("band", centre, q), sound)


def sweep(
    sound: np.ndarray,
    cutoff_at: Callable[[np.ndarray], np.ndarray],
    *,
    q: float = 0.707,
    kind: str = "low",
    block: int = 1024,
) -> np.ndarray:
    """Filter whose cutoff moves: `cutoff_at(sample)` in Hz, asked at the start of each block."""
    out = np.empty_like(sound)
    state = np.zeros((1, *sound.shape[:-1], 2))
    starts = np.arange(0, sound.shape[-1], block)
    for start, cutoff in zip(starts, cutoff_at(starts), strict=True):
        part = slice(start, start + block)
        out[..., part], state = signal.sosfilt(
            _section(kind, cutoff, q), sound[..., part], zi=state
        )
    return out


# Effects.


def soft_clip(sound: np.ndarray) -> np.ndarray:
    """Saturation like tanh (its Pade form), made of multiplications only; reaches 1 at 3."""
    out = np.clip(sound, -3.0, 3.0)
    square = out * out
    out *= square + 27.0
    square *= 9.0
    square += 27.0
    out /= square
    return out


def echo(sound: np.ndarray, delay: int, feedback: float) -> np.ndarray:
    """Repeats: y[n] = x[n] + feedback * y[n - delay], a block of `delay` samples at a time."""
    out = sound.copy()
    for start in range(delay, out.shape[-1], delay):
        block = out[..., start : start + delay]
        block += feedback * out[..., start - delay : start - delay + block.shape[-1]]
    return out


def reverb(sound: np.ndarray, *, decay_seconds: float, damping: float) -> np.ndarray:
    """A room: mono [time] in, stereo [2, time] wet signal out (Schroeder, 1962: parallel combs).

    `decay_seconds` is the time to fall by 60 dB, `damping` the low-pass in Hz. The room works at
    half the sample rate: little is left in it above 6 kHz.
    """
    length = sound.shape[-1]
    source = bandpass(lowpass(sound, damping), 900.0, 0.4)[::2]
    wet = np.zeros((2, len(source)))
    for channel, delays in enumerate(((778, 808, 638, 711), (790, 820, 650, 722))):
        for sign, delay in zip((1, -1, 1, -1), delays, strict=True):
            loss = 10.0 ** (-6.0 * delay / (decay_seconds * SAMPLE_RATE))
            wet[channel] += sign * echo(source, delay, loss)
    # An allpass thickens the four series of echoes.
    thick = echo(wet, 278, 0.5)
    thick *= 0.75
    thick[:, 278:] -= 0.5 * wet[:, :-278]
    thick *= 0.5
    out = np.empty((2, length))
    out[:, ::2] = thick
    out[:, 1:-1:2] = 0.5 * (thick[:, : (length - 1) // 2] + thick[:, 1 : (length + 1) // 2])
    out[:, -1] = thick[:, -1]
    return out


def pan(sound: np.ndarray, position: float) -> np.ndarray:
    """Mono [time] to stereo [2, time]; -1 left, 0 centre (both at 1), 1 right."""
    return np.stack([sound * min(1.0, 1.0 - position), sound * min(1.0, 1.0 + position)])


def add(bus: np.ndarray, sound: np.ndarray, start: int, gain: float = 1.0) -> None:
    """Mixes a sound into `bus` [..., time] at sample `start`, cutting what hangs over the end."""
    length = min(sound.shape[-1], bus.shape[-1] - start)
    if length > 0:
        bus[..., start : start + length] += gain * sound[..., :length]
