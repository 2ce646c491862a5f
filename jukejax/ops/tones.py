"""Cosines at the centers of bands with given log magnitudes of "tones" (`ops.bands`).

A note sounds at its pitch however long it lasts. Letters: B batch, T time, N frames, K bands.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import bands, dft
from jukejax.ops.frames import cut_frames

WIDE_BELOW = 200.0  # Hz: a sine is in several bands there, as they are narrower than a bin
PHASE_FRAMES = 5  # frames of "tones" whose mean tells the phase of a band


def synthesize_tones(
    logs: jax.Array,
    low: float,
    high: float,
    start: jax.Array,
    offsets: jax.Array | None = None,
    *,
    sample_rate: int,
) -> jax.Array:
    """Adds a cosine for each band that is louder than its neighbors.

    Args:
      logs: [B, N, K] of `bands.log_magnitudes` for the "tones" of [low, high) Hz.
      start: int32, the number of the first frame in the track.
      offsets: of the cosines' phases, in radians [B, N, K] (`measure_offsets`); None: 0.

    Returns:
      float32 [B, N * HOPS["tones"]].
    """
    hop = bands.HOPS["tones"]
    centers, response = _measure_tones(low, high, sample_rate)
    magnitudes = bands.compute_magnitudes(logs, "tones")
    amplitudes = jnp.where(_is_peak(magnitudes, centers), magnitudes / response, 0)
    # Amplitudes are those of the middle of a frame, and linear between two frames.
    padded = _repeat_ends(amplitudes)
    ramp = (np.arange(hop) + 0.5) / hop
    rising, falling = ramp.astype(np.float32), (1 - ramp).astype(np.float32)
    phases = _compute_phases(centers, start, logs.shape[1] + 1, hop, sample_rate)
    phases_before = phases_after = phases
    if offsets is not None:
        ends = _repeat_ends(offsets)
        phases_before, phases_after = phases + ends[:, :-1], phases + ends[:, 1:]
    cosines, sines = dft.make_waves(centers / sample_rate, hop)

    def sound(values: jax.Array, phases: jax.Array) -> jax.Array:
        return (values * jnp.cos(phases)) @ cosines - (values * jnp.sin(phases)) @ sines

    # From the middle of one frame to that of the next.
    blocks = sound(padded[:, :-1], phases_before) * falling
    blocks = blocks + sound(padded[:, 1:], phases_after) * rising
    return blocks.reshape(len(logs), -1)[:, hop // 2 : hop // 2 + logs.shape[1] * hop]


def measure_offsets(
    audio: jax.Array, low: float, high: float, start: jax.Array, *, sample_rate: int
) -> jax.Array:
    """Measures the phases of audio in each band against those of `synthesize_tones`.

    Args:
      audio: [B, T], T a multiple of HOPS["tones"].
      start: int32, the number of the first frame in the track.

    Returns:
      float32 [B, N, K] in radians, of the mean over `PHASE_FRAMES` frames.
    """
    hop, span = bands.HOPS["tones"], bands.SPANS["tones"]
    centers = bands.select_centers("tones", low, high)
    window = bands.make_window("tones")
    angles = 2 * np.pi * np.outer(np.arange(len(window)) - len(window) / 2, centers / sample_rate)
    frames = cut_frames(audio, hop, span)
    real = frames @ (np.cos(angles) * window[:, None]).astype(np.float32)
    imaginary = frames @ (-np.sin(angles) * window[:, None]).astype(np.float32)
    phases = _compute_phases(centers, start + 1, frames.shape[1], hop, sample_rate)
    rotated = (
        real * jnp.cos(phases) + imaginary * jnp.sin(phases),
        imaginary * jnp.cos(phases) - real * jnp.sin(phases),
    )
    size = (1, PHASE_FRAMES, 1)
    sums = [lax.reduce_window(part, 0.0, lax.add, size, (1, 1, 1), "SAME") for part in rotated]
    return jnp.arctan2(sums[1], sums[0])


def _repeat_ends(values: jax.Array) -> jax.Array:
    """Repeats the first and the last of values [B, N, K] once, [B, N + 2, K]."""
    return jnp.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")


def _is_peak(magnitudes: jax.Array, centers: np.ndarray) -> jax.Array:
    """Returns true for bands that are louder than their neighbors. [B, N, K].

    Of equal ones, as the lowest bands that lie in the same bin, the highest is taken.
    """
    padded = jnp.pad(magnitudes, ((0, 0), (0, 0), (2, 2)))
    below, above = padded[..., 1:-3], padded[..., 3:-1]
    far_below, far_above = padded[..., :-4], padded[..., 4:]
    is_wide = centers < WIDE_BELOW
    below = jnp.where(is_wide, jnp.maximum(below, far_below), below)
    above = jnp.where(is_wide, jnp.maximum(above, far_above), above)
    return (magnitudes >= below) & (magnitudes > above)


def _compute_phases(
    centers: np.ndarray, start: jax.Array, frames: int, hop: int, sample_rate: int
) -> jax.Array:
    """Returns the phases at the middle of the frame before each frame, float32 [frames, K].

    In integers of 32 bits that wrap at a full turn, so that they are exact after hours.
    """
    steps = np.round(centers / sample_rate * hop % 1 * 2**32).astype(np.uint64).astype(np.uint32)
    numbers = (start + jnp.arange(frames)).astype(jnp.uint32)
    turns = numbers[:, None] * steps[None, :]
    return turns.astype(jnp.float32) * (2 * np.pi / 2**32)


@functools.cache
def _measure_tones(low: float, high: float, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the centers of the bands, and the magnitude that each has for a cosine there."""
    centers = bands.select_centers("tones", low, high)
    window = bands.make_window("tones")
    time = bands.HOPS["tones"] // 2 + len(window) // 2 + np.arange(len(window))
    cosines = window * np.cos(2 * np.pi * np.outer(centers, time) / sample_rate)
    magnitudes = np.abs(np.fft.rfft(cosines, 2 * len(window)))
    filters = bands.make_filters("tones", low, high, 2 * len(window), sample_rate)
    return centers, np.sum(magnitudes * filters.T, axis=1).astype(np.float32)
