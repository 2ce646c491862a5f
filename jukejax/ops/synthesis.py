"""Sounds with given log magnitudes in bands (`ops.bands`), the inverse of these descriptions.

The descriptions have no phase. "tones" become cosines at the centers of the bands, so that a note
sounds at its pitch however long it lasts; "strokes" become noise. Phases and noise depend on the
sample of the track alone, not on where a window begins. Letters: B batch, N frames, K bands.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import bands
from jukejax.ops.frames import add_frames, cut_frames
from jukejax.ops.turns import Stream

WIDE_BELOW = 200.0  # Hz: a sine is in several bands there, as they are narrower than a bin
KICK_BELOW = 160.0  # Hz: tones whose levels follow those of the strokes there within their window
PHASE_FRAMES = 5  # frames of "tones" whose mean tells the phase of a band
_NOISE_KEY = 0
_SILENCE = 1e-4  # power of strokes that has no attack


def synthesize_streams(
    spectra: Sequence[jax.Array],
    streams: Sequence[Stream],
    start: jax.Array | int,
    *,
    sample_rate: int,
) -> jax.Array:
    """Adds the sounds of all streams of a level.

    A learned decoder of codes without phase has nothing to take a phase from but the positions of
    the codes, and sounds at multiples of their rate whatever the codes tell.

    Args:
      spectra: of each stream, [B, N, K] of `bands.log_magnitudes`.
      start: the first sample in the track, a multiple of the frames' lengths.

    Returns:
      float32 [B, T].
    """
    sounds = []
    top = max((stream.turn[2] for stream in streams if stream.turn[0] == "tones"), default=0.0)
    kick = _find_kick(spectra, streams)
    for stream, logs in zip(streams, spectra, strict=True):
        kind, low, high = stream.turn
        first = jnp.asarray(start, jnp.int32) // bands.HOPS[kind]
        if kind == "tones":
            sound = synthesize_tones(logs, low, high, first, sample_rate=sample_rate)
            if kick is not None and high <= KICK_BELOW:
                sound = sound * kick
        else:
            sound = synthesize_strokes(
                logs, low, high, first, attacks_below=top, sample_rate=sample_rate
            )
        sounds.append(sound)
    return sum(sounds[1:], sounds[0])


def synthesize_references(
    spectra: Sequence[jax.Array],
    streams: Sequence[Stream],
    start: jax.Array | int,
    audio: jax.Array | None = None,
    *,
    sample_rate: int,
) -> jax.Array:
    """Adds the tones of a level above `KICK_BELOW`, without the strokes.

    The tones under it are those of kicks too, whose phases do not go on.

    Args:
      spectra, start: as in `synthesize_streams`.
      audio: [B, T], whose phases the tones take; None: those of `synthesize_streams`.

    Returns:
      float32 [B, T].
    """
    first = jnp.asarray(start, jnp.int32) // bands.HOPS["tones"]
    sounds = []
    for stream, logs in zip(streams, spectra, strict=True):
        kind, low, high = stream.turn
        if kind == "tones" and low >= KICK_BELOW:
            offsets = None
            if audio is not None:
                offsets = measure_offsets(audio, low, high, first, sample_rate=sample_rate)
            sounds.append(
                synthesize_tones(logs, low, high, first, offsets, sample_rate=sample_rate)
            )
    if not sounds:
        raise ValueError(
            f"the level has no turns of tones from {KICK_BELOW:.0f} Hz on, so that it gives no "
            "reference"
        )
    return sum(sounds[1:], sounds[0])


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
    magnitudes = _compute_magnitudes(logs, "tones")
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
    cosines, sines = _make_waves(centers / sample_rate, hop)

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
    magnitudes = _compute_magnitudes(logs, "strokes")
    is_tonal = bands.select_centers("strokes", low, high) < attacks_below
    magnitudes = jnp.where(is_tonal, _select_attacks(magnitudes), magnitudes)
    spread = _spread_strokes(low, high, sample_rate)

    size, bins = len(window), spread.shape[1]
    cosines, sines = _make_waves(np.arange(bins) / size, size)

    def draw_bins(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(_NOISE_KEY), number)
        return jax.random.normal(key, (2, bins)) * np.sqrt(2 / size)

    real, imaginary = jnp.moveaxis(jax.vmap(draw_bins)(start + jnp.arange(logs.shape[1])), 1, 0)
    gains = magnitudes @ spread
    frames = ((real * gains) @ cosines - (imaginary * gains) @ sines) * window
    return add_frames(frames / np.sqrt(np.sum(np.square(window)) / hop), hop, span)


def _find_kick(spectra: Sequence[jax.Array], streams: Sequence[Stream]) -> jax.Array | None:
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
    power = jnp.square(_compute_magnitudes(logs, "strokes")).sum(axis=-1)
    weights = np.hanning(bands.count_window("tones", 0) // hop + 2)[1:-1]
    convolve = jax.vmap(jnp.convolve, in_axes=(0, None))
    first = (len(weights) - 1) // 2
    means = convolve(power, weights / weights.sum())[:, first : first + frames]
    gains = jnp.sqrt(power / (means + _SILENCE))
    places = (np.arange(frames * hop) + 0.5) / hop - 0.5
    interpolate = jax.vmap(jnp.interp, in_axes=(None, None, 0))
    return interpolate(places, np.arange(frames), gains)


def _compute_magnitudes(logs: jax.Array, kind: str) -> jax.Array:
    """Returns the magnitudes of `bands.log_magnitudes`."""
    return jnp.maximum(jnp.exp(logs) - bands.FLOORS[kind], 0)


def _repeat_ends(values: jax.Array) -> jax.Array:
    """Repeats the first and the last of values [B, N, K] once, [B, N + 2, K]."""
    return jnp.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")


def _make_waves(frequencies: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosines and sines of frequencies [K] in turns a sample, float32 [K, samples]."""
    angles = 2 * np.pi * np.outer(frequencies, np.arange(samples))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _select_attacks(magnitudes: jax.Array) -> jax.Array:
    """Removes the mean power over a window of "tones" from magnitudes of "strokes". [B, N, K]."""
    frames = bands.count_window("tones", 0) // bands.HOPS["strokes"]
    power = jnp.square(magnitudes)
    sums = lax.reduce_window(power, 0.0, lax.add, (1, frames, 1), (1, 1, 1), "SAME")
    return jnp.sqrt(jnp.maximum(power - sums / frames, 0.0))


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
