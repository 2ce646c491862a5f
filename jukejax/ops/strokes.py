"""Noise with given log magnitudes of "strokes" (`ops.bands`), and the kicks that they time.

Letters: B batch, T time, N frames, K bands.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import bands, dft
from jukejax.ops.frames import add_frames
from jukejax.ops.turns import Stream

KICK_BELOW = 160.0  # Hz: tones whose levels follow those of the strokes there within their window
_NOISE_KEY = 0
_SILENCE = 1e-4  # power of strokes that has no attack


def synthesize_strokes(
    logs: jax.Array,
    low: float,
    high: float,
    start: jax.Array,
    *,
    attacks_below: float = 0.0,
    sample_rate: int,
) -> jax.Array:
    """Shapes noise in time and frequency.

    Args:
      logs: [B, N, K] of `bands.log_magnitudes` for the "strokes" of [low, high) Hz.
      start: int32, the number of the first frame in the track.
      attacks_below: Hz, under which only what exceeds the mean power over a window of "tones" is
        noise, as the rest sounds as tones.

    Returns:
      float32 [B, N * HOPS["strokes"]].
    """
    hop, span = bands.HOPS["strokes"], bands.SPANS["strokes"]
    window = bands.make_window("strokes").astype(np.float32)
    magnitudes = bands.compute_magnitudes(logs, "strokes")
    is_tonal = bands.select_centers("strokes", low, high) < attacks_below
    magnitudes = jnp.where(is_tonal, _select_attacks(magnitudes), magnitudes)
    spread = _spread_strokes(low, high, sample_rate)

    size, bins = len(window), spread.shape[1]
    cosines, sines = dft.make_waves(np.arange(bins) / size, size)

    def draw_bins(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(_NOISE_KEY), number)
        return jax.random.normal(key, (2, bins)) * np.sqrt(2 / size)

    real, imaginary = jnp.moveaxis(jax.vmap(draw_bins)(start + jnp.arange(logs.shape[1])), 1, 0)
    gains = magnitudes @ spread
    frames = ((real * gains) @ cosines - (imaginary * gains) @ sines) * window
    return add_frames(frames / np.sqrt(np.sum(np.square(window)) / hop), hop, span)


def find_kick(spectra: Sequence[jax.Array], streams: Sequence[Stream]) -> jax.Array | None:
    """Returns the gains of the tones under `KICK_BELOW`, [B, T]; None without strokes there."""
    for stream, logs in zip(streams, spectra, strict=True):
        kind, low, high = stream.turn
        if kind == "strokes":
            is_low = bands.select_centers(kind, low, high) < KICK_BELOW
            if is_low.any():
                return _compute_gains(logs[..., is_low])
    return None


def _compute_gains(logs: jax.Array) -> jax.Array:
    """Computes the level of strokes relative to that in a window of "tones".

    The window of a tone is eight times as long as the attack of a kick, which the strokes tell.

    Args:
      logs: [B, N, K] of `bands.log_magnitudes` for strokes.

    Returns:
      float32 [B, N * HOPS["strokes"]], linear between the middles of the frames.
    """
    hop, frames = bands.HOPS["strokes"], logs.shape[1]
    power = jnp.square(bands.compute_magnitudes(logs, "strokes")).sum(axis=-1)
    weights = np.hanning(bands.count_window("tones") // hop + 2)[1:-1]
    convolve = jax.vmap(jnp.convolve, in_axes=(0, None))
    first = (len(weights) - 1) // 2
    means = convolve(power, weights / weights.sum())[:, first : first + frames]
    gains = jnp.sqrt(power / (means + _SILENCE))
    places = (np.arange(frames * hop) + 0.5) / hop - 0.5
    interpolate = jax.vmap(jnp.interp, in_axes=(None, None, 0))
    return interpolate(places, np.arange(frames), gains)


def _select_attacks(magnitudes: jax.Array) -> jax.Array:
    """Removes the mean power over a window of "tones" from magnitudes of "strokes". [B, N, K]."""
    frames = bands.count_window("tones") // bands.HOPS["strokes"]
    power = jnp.square(magnitudes)
    sums = lax.reduce_window(power, 0.0, lax.add, (1, frames, 1), (1, 1, 1), "SAME")
    return jnp.sqrt(jnp.maximum(power - sums / frames, 0.0))


@functools.cache
def _spread_strokes(low: float, high: float, sample_rate: int) -> np.ndarray:
    """Returns the gain of each bin of noise for the magnitude of each band, float32 [K, bins].

    Between two centers the gain is linear in frequency. White noise has a mean magnitude of
    sqrt(pi / 4) times its standard deviation and the root of the window's energy in each bin.
    """
    window = bands.make_window("strokes")
    centers = bands.select_centers("strokes", low, high)
    bins = np.fft.rfftfreq(len(window), 1 / sample_rate)
    shares = np.stack([np.interp(bins, centers, row) for row in np.eye(len(centers))])
    shares[:, (bins < low) | (bins >= high)] = 0
    return (shares / np.sqrt(np.pi / 4 * np.sum(np.square(window)))).astype(np.float32)
