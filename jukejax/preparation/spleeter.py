"""Separation by Spleeter: the stems of a mix of any length, a few segments at a time.

Deezer's Spleeter transforms the whole mix, cuts the spectrogram into segments of 512 frames that do
not overlap, and gives each stem a share of every bin by the squares of its net's estimates; above
11 kHz, above the range of the nets, both stems are empty. `OFFICIAL` implements this. `CORPUS`
differs in two points (for mixes of one segment the two agree below 11 kHz):

- segments overlap with a cross-fade: a net is least accurate at the borders of a segment, where its
  masks must be continuous;
- everything above 11 kHz is assigned to the accompaniment: keeping the hats is more important than
  removing the sibilants.

On four tracks of the first house corpus, of less variety than today's, the SI-SDR of the
instrumental was 9.4 dB in the mix, 11.1 dB after `OFFICIAL`, 12.9 dB with the frequencies above
11 kHz, 13.2 dB also with the overlap.

Nets and masks are one program of fixed shape; transform and inverse run on the host. Segments are
independent up to the sum of their outputs, so memory does not grow with the mix.

Letters: B segments in a batch.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.data.audio import Samples
from jukejax.models.unet import UNetConfig, UNets
from jukejax.preparation import resynthesis
from jukejax.weights import spleeter as weights_file

SAMPLE_RATE = 44100
FRAME = 4096  # samples of the transform
HOP = FRAME // resynthesis.OVERLAPS
SEGMENT = 512  # frames
SPAN = (SEGMENT + resynthesis.OVERLAPS - 1) * HOP  # samples spanned by a segment's frames
BINS = 1024  # frequencies that the nets process: up to 11 kHz
EPSILON = 1e-10
BATCH = {"cpu": 1}  # segments in one call; more are not faster on a CPU
ACCELERATOR_BATCH = 8


@dataclass(frozen=True)
class Layout:
    """Treatment of a mix outside of the nets.

    Attributes:
      overlap: frames that a segment shares with the next, at most half of them.
      keep_highs: assigns frequencies above those of the nets to the accompaniment, instead of to no
        stem.
    """

    overlap: int
    keep_highs: bool

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= SEGMENT // 2:
            raise ValueError(f"overlap {self.overlap} must lie between 0 and {SEGMENT // 2} frames")


OFFICIAL = Layout(overlap=0, keep_highs=False)
CORPUS = Layout(overlap=128, keep_highs=True)


@functools.partial(jax.jit, static_argnames=("config", "stems"))
def _compute_masks(
    variables: Tree, magnitudes: jax.Array, *, config: UNetConfig, stems: tuple[str, ...]
) -> jax.Array:
    """Computes each stem's share of every bin by the squares of the nets' estimates.

    Args:
      variables: of `UNets`.
      magnitudes: float32 [B, SEGMENT, BINS, 2] of a mix.
      stems: of the masks to return.

    Returns:
      float32 [stems, B, SEGMENT, BINS, 2], in [0, 1].
    """
    estimates: Tree = UNets(config).apply(variables, magnitudes)
    power = jnp.square(estimates)
    total = power.sum(axis=0) + EPSILON
    floor = EPSILON / len(config.stems)
    return jnp.stack([(power[config.stems.index(stem)] + floor) / total for stem in stems])


def segment_starts(samples: int, overlap: int) -> list[int]:
    """Returns the first frame of each segment that covers a mix; at least one.

    Frame i begins at sample i * HOP - FRAME: one frame of silence goes before the mix.
    """
    frames = math.ceil((samples + FRAME) / HOP)
    step = SEGMENT - overlap
    return [i * step for i in range(max(1, math.ceil((frames - overlap) / step)))]


def segment_weights(index: int, count: int, overlap: int) -> np.ndarray:
    """Returns the weight of each frame of segment `index` of `count`, float32 [SEGMENT].

    The weights of all segments sum to 1 at every frame.
    """
    weights = np.ones(SEGMENT, np.float32)
    ramp = (np.arange(overlap, dtype=np.float32) + 0.5) / max(overlap, 1)
    if index > 0:
        weights[:overlap] = ramp
    if index < count - 1:
        weights[SEGMENT - overlap :] = 1 - ramp
    return weights


class Spleeter:
    """Separates mixes by Deezer's 2stems, with the weights on the device."""

    def __init__(self, path: str | Path, sha256: str = "", config: UNetConfig | None = None):
        """Loads the weights.

        Raises:
          ValueError: the file is missing, of another model, or its hash is not `sha256`.
        """
        self._config = config or UNetConfig()
        self._variables = jax.device_put(
            weights_file.load_spleeter_weights(path, self._config, sha256)
        )
        self._batch = BATCH.get(jax.default_backend(), ACCELERATOR_BATCH)

    def __call__(
        self,
        mix: np.ndarray,
        layout: Layout = CORPUS,
        stems: tuple[str, ...] = ("accompaniment",),
    ) -> dict[str, np.ndarray]:
        """Separates a mix.

        Args:
          mix: float32 [time, channels] at 44.1 kHz, mono or stereo, of any length.
          stems: "vocals", "accompaniment" or both.

        Returns:
          float32 [time, channels] by stem. Mono is separated as two equal channels.
        """
        blocks = list(self.separate(mix, layout, stems))
        return {stem: np.concatenate([block[stem] for block in blocks]) for stem in stems}

    def separate(
        self,
        mix: Samples,
        layout: Layout = CORPUS,
        stems: tuple[str, ...] = ("accompaniment",),
    ) -> Iterator[dict[str, np.ndarray]]:
        """Separates a mix, and yields its stems in blocks; see `__call__`."""
        samples, channels = mix.shape
        if channels not in (1, 2):
            raise ValueError(f"Spleeter takes mono or stereo, not {channels} channels")
        starts = segment_starts(samples, layout.overlap)
        weights = [segment_weights(i, len(starts), layout.overlap) for i in range(len(starts))]
        done = 0  # samples that were yielded
        sums = {stem: np.zeros((0, channels), np.float32) for stem in stems}  # from there on
        for first in range(0, len(starts), self._batch):
            batch = slice(first, first + self._batch)
            offsets = [start * HOP - FRAME for start in starts[batch]]  # samples in the mix
            audio = np.zeros((self._batch, SPAN, 2), np.float32)
            for row, offset in zip(audio, offsets, strict=False):
                row[max(0, -offset) : samples - offset] = mix[max(0, offset) : offset + SPAN]
            batch_weights = np.zeros((self._batch, SEGMENT), np.float32)
            batch_weights[: len(offsets)] = weights[batch]
            separated = self._separate(audio, batch_weights, stems, layout.keep_highs)
            following = starts[first + self._batch : first + self._batch + 1]
            final = max(done, following[0] * HOP - FRAME) if following else samples
            missing = max(0, min(samples, offsets[-1] + SPAN) - done - len(sums[stems[0]]))
            for stem, segments in separated.items():
                total = np.pad(sums[stem], ((0, missing), (0, 0)))
                for segment, offset in zip(segments, offsets, strict=False):
                    inside = segment[max(0, -offset) : samples - offset]
                    inside = inside if channels == 2 else inside.mean(axis=1, keepdims=True)
                    total[max(0, offset) - done :][: len(inside)] += inside
                sums[stem] = total
            yield {stem: total[: final - done] for stem, total in sums.items()}
            sums = {stem: total[final - done :] for stem, total in sums.items()}
            done = final

    def _separate(
        self, audio: np.ndarray, weights: np.ndarray, stems: tuple[str, ...], keep_highs: bool
    ) -> dict[str, np.ndarray]:
        """Separates segments of a mix.

        Args:
          audio: float32 [B, SPAN, 2].
          weights: float32 [B, SEGMENT], weights of the frames in the sum of all segments.
          keep_highs: see `Layout`.

        Returns:
          float32 [B, SPAN, 2] by stem, to be added where segments overlap.
        """
        spectra = resynthesis.compute_spectrogram(audio, FRAME)
        magnitudes = np.abs(spectra[:, :, :BINS])
        masks = _compute_masks(self._variables, magnitudes, config=self._config, stems=stems)
        spectra *= weights[:, :, None, None]
        separated = {}
        for stem, mask in zip(stems, np.asarray(masks), strict=True):
            masked = np.zeros_like(spectra)
            masked[:, :, :BINS] = mask * spectra[:, :, :BINS]
            if keep_highs and stem == "accompaniment":
                masked[:, :, BINS:] = spectra[:, :, BINS:]
            separated[stem] = resynthesis.overlap_add(masked, FRAME)
        return separated


@functools.lru_cache(maxsize=1)
def load_spleeter(path: str, sha256: str) -> Spleeter:
    """Returns the instance that is shared by all calls of a process."""
    return Spleeter(path, sha256)
