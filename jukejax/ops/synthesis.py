"""Sounds with given log magnitudes in bands (`ops.bands`), the inverse of these descriptions.

The descriptions have no phase. "tones" become cosines (`ops.tones`), "strokes" noise
(`ops.strokes`). Phases and noise depend on the sample of the track alone, not on where a window
begins. Letters: B batch, T time, N frames, K bands.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jukejax.ops import bands
from jukejax.ops.strokes import KICK_BELOW, find_kick, synthesize_strokes
from jukejax.ops.tones import measure_offsets, synthesize_tones
from jukejax.ops.turns import Stream


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
    kick = find_kick(spectra, streams)
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
