"""Matching of a sound's magnitudes to those that the codes of a coarser level describe.

The finer levels draw waveforms from wide predictions. What they draw has the right level in a wide
band, but there is noise between the partials of a chord. The spectral level (`models.frames`)
describes the level of every semitone ("tones" of `ops.bands`) and of mel bands in short time
("strokes"): the sound is filtered until it has these levels, and keeps its phases.

As frames overlap, the filtered sound has other magnitudes than those of the filtered frames, so
that the filter is applied repeatedly: Griffin and Lim, "Signal estimation from modified short-time
Fourier transform" (1984).

The level of a semitone does not tell whether it is a partial or noise of that band, and the finer
levels tend to noise. Partials of music in equal temperament are near the centers of the semitones:
a `contrast` takes away what is between them.

Letters: B batch, T time, N frames, W samples of a frame, K bands, F bins.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jukejax.ops import bands, dft
from jukejax.ops.frames import add_frames, cut_frames
from jukejax.ops.strokes import KICK_BELOW
from jukejax.ops.turns import Stream

# A filter overcorrects by half: the sound is nearer after four such rounds than after six plain
# ones.
_STEP = 1.5
_LOWEST = {"tones": -20.0, "strokes": -12.0}  # dB, gains of one round
_HIGHEST = 6.0
# Frames of a description for each frame of the filter. Tones change slowly: half of their frames
# do, at half the cost.
_STRIDE = {"tones": 2, "strokes": 1}
CONTRAST_FROM = 600.0  # Hz; below, two semitones are nearer than the window resolves
UNIT = bands.HOPS["tones"] * _STRIDE["tones"]  # samples at whose multiples a window may begin
_NEPERS = np.log(10) / 20  # of a dB
_PRECISION = lax.Precision.HIGHEST  # TF32 and bfloat16 products would add noise


def match_magnitudes(
    audio: jax.Array,
    spectra: Sequence[jax.Array],
    streams: Sequence[Stream],
    *,
    rounds: int,
    sample_rate: int,
    contrast: float = 0.0,
) -> jax.Array:
    """Filters audio until its log magnitudes are near those of a spectral level.

    "tones" are matched from `KICK_BELOW` on, as kicks are shorter than their frames; "strokes"
    above the highest tones.

    Args:
      audio: [B, T], T a multiple of `HOPS["tones"]`.
      spectra: of each stream, [B, N, K] of `bands.log_magnitudes`.
      contrast: dB by which a round of "tones" lowers what is half-way between two centers, from
        `CONTRAST_FROM` on.

    Returns:
      float32 [B, T].
    """
    top = max((stream.turn[2] for stream in streams if stream.turn[0] == "tones"), default=0.0)
    targets = {
        kind: _select_targets(kind, lowest, spectra, streams)
        for kind, lowest in (("tones", KICK_BELOW), ("strokes", top))
    }

    def apply_filters(_: int, sound: jax.Array) -> jax.Array:
        for kind, parts in targets.items():
            if parts:
                sound = _apply_filter(sound, kind, parts, sample_rate, contrast)
        return sound

    length = audio.shape[1]
    padded = jnp.pad(audio.astype(jnp.float32), ((0, 0), (0, -length % UNIT)))
    return lax.fori_loop(0, rounds, apply_filters, padded)[:, :length]


def find_reach(rounds: int) -> int:
    """Returns the samples on each side on which a sample of `match_magnitudes` depends."""
    return rounds * sum(bands.count_window(kind) for kind in ("tones", "strokes"))


Part = tuple[float, float, jax.Array]  # lower and upper edge in Hz, log magnitudes [B, N, K]


def _select_targets(
    kind: str, lowest: float, spectra: Sequence[jax.Array], streams: Sequence[Stream]
) -> list[Part]:
    """Returns the parts of one kind with centers from `lowest` on, by frequency."""
    parts = []
    for stream, logs in zip(streams, spectra, strict=True):
        _, low, high = stream.turn
        if stream.turn[0] == kind and high > lowest:
            is_matched = bands.select_centers(kind, low, high) >= lowest
            if is_matched.any():
                logs = _average_frames(logs[..., is_matched], _STRIDE[kind])
                parts.append((max(low, lowest), high, logs))
    return sorted(parts, key=lambda part: part[0])


def _average_frames(logs: jax.Array, count: int) -> jax.Array:
    """Averages every `count` frames of [B, N, K]; the last one repeats where it must."""
    logs = jnp.pad(logs, ((0, 0), (0, -logs.shape[1] % count), (0, 0)), mode="edge")
    return logs.reshape(len(logs), -1, count, logs.shape[-1]).mean(axis=2)


def _apply_filter(
    audio: jax.Array, kind: str, parts: Sequence[Part], sample_rate: int, contrast: float
) -> jax.Array:
    """Applies one filter for each frame, which brings the bands of one kind near their targets."""
    hop, span = bands.HOPS[kind] * _STRIDE[kind], bands.SPANS[kind] // _STRIDE[kind]
    frames = cut_frames(audio, hop, span)
    errors = [
        logs - bands.measure_frames(frames, kind, low, high, sample_rate=sample_rate)
        for low, high, logs in parts
    ]
    limits = [decibels * _NEPERS for decibels in (_LOWEST[kind], _HIGHEST)]
    gains = jnp.clip(_STEP * jnp.concatenate(errors, axis=-1), *limits)
    edges = tuple((low, high) for low, high, _ in parts)
    bins = _make_bins(kind, edges, sample_rate)
    cosines, sines = bins.cosines, bins.sines
    lowered = contrast * _NEPERS * bins.valleys if kind == "tones" else 0.0
    multiply = functools.partial(jnp.matmul, precision=_PRECISION)
    changes = jnp.expm1(multiply(gains, bins.spread) - lowered)  # [B, N, F]
    filtered = multiply(changes * multiply(frames, cosines.T), cosines)
    filtered = filtered + multiply(changes * multiply(frames, sines.T), sines)
    return audio + add_frames(filtered, hop, span)


class _Bins(NamedTuple):
    """The bins of a filter.

    Attributes:
      spread: gain of each bin for that of each band, float32 [K, F].
      valleys: 0 at the centers of the bands and under `CONTRAST_FROM`, 1 half-way between two
        centers, float32 [F].
      cosines, sines: float32 [F, W] with a window; the sum of the frames' products with both is the
        audio.
    """

    spread: np.ndarray
    valleys: np.ndarray
    cosines: np.ndarray
    sines: np.ndarray


@functools.cache
def _make_bins(kind: str, edges: tuple[tuple[float, float], ...], sample_rate: int) -> _Bins:
    """Returns the bins of the filter of bands.

    Gains are linear in the logarithm of the frequency between two centers; those of the first and
    the last band hold for one more band, and fade over another one, so that a band has no more
    sound than its gain leaves.
    """
    window = bands.make_window(kind)
    size, hop = len(window), bands.HOPS[kind] * _STRIDE[kind]
    centers = np.concatenate([bands.select_centers(kind, low, high) for low, high in edges])
    first, last = centers[0] / centers[1], centers[-1] / centers[-2]
    below, above = centers[0] * first ** np.array([2, 1]), centers[-1] * last ** np.array([1, 2])
    points = np.log(np.concatenate([below, centers, above]))
    rows = np.pad(np.eye(len(centers)), ((0, 0), (2, 2)))
    rows[0, 1] = rows[-1, -2] = 1.0
    bins = np.arange(1, size // 2)
    frequencies = bins * sample_rate / size
    is_inside = (frequencies > below[0]) & (frequencies < above[1])
    bins, frequencies = bins[is_inside], frequencies[is_inside]
    logs = np.log(frequencies)
    spread = np.stack([np.interp(logs, points, row) for row in rows])
    places = np.interp(logs, points, np.arange(len(points)))  # whole numbers at the centers
    valleys = np.where(frequencies >= CONTRAST_FROM, np.square(np.sin(np.pi * places)), 0)
    # Analysis and synthesis have the same window, whose squares add up to a constant.
    scale = (window * np.sqrt(2 / size / (np.sum(np.square(window)) / hop))).astype(np.float32)
    cosines, sines = (wave * scale for wave in dft.make_waves(bins / size, size))
    return _Bins(spread.astype(np.float32), valleys.astype(np.float32), cosines, sines)
