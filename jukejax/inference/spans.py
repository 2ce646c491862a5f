"""Division of tracks into windows for a VQ-VAE, and sounds that are read in windows."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from jukejax.data.audio import Samples
from jukejax.models.frames import FrameConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import bands, magnitude_matching
from jukejax.ops.tones import PHASE_FRAMES


class Span(NamedTuple):
    """A window of a track and its used range.

    Attributes:
      start: start of the window.
      begin, end: used range, in the track.
    """

    start: int
    begin: int
    end: int


def find_spans(total: int, window: int, margin: int, unit: int = 1) -> list[Span]:
    """Returns windows whose used ranges cover [0, total) without overlap.

    Windows start at multiples of `unit`, of which `window` and `margin` are multiples. The length
    of a window is `window`, or that of the track from its start if that is shorter; its used range
    excludes `margin` at both ends, except at the ends of the track.
    """
    if total <= window:
        return [Span(0, 0, total)]
    if window <= 2 * margin:
        raise ValueError(f"windows of {window} leave nothing between margins of {margin}")
    spans, begin = [], 0
    while begin < total:
        start = min(max(begin - margin, 0), _round_up(total - window, unit))
        end = total if start + window >= total else start + window - margin
        spans.append(Span(start, begin, end))
        begin = end
    return spans


def find_context(config: VQVAEConfig, level: int) -> int:
    """Returns the number of samples on each side on which a code of this level depends.

    It is rounded up to whole top-level codes, or to frames of codes that take turns.
    """
    if config.frames:
        return _round_up(_find_frame_context(config, config.frames, level), config.unit)
    multiplier = config.multipliers[level]
    stack = config.make_stack(multiplier * config.depth)
    reach, rate = 0, 1
    for downs, stride in zip(config.downs[: level + 1], config.strides, strict=False):
        for _ in range(downs):
            reach += 2 * stride * rate
            rate *= stride
            reach += sum(stack.dilations) * rate
        reach += rate
    return _round_up(reach + 1, config.hops[-1])


def find_reference_context(config: VQVAEConfig, level: int) -> int:
    """Returns the samples on each side on which the reference of a level depends.

    These are the context of its encoder and that of the decoder of the level above; for tones that
    of three codes of each turn and of the frames whose phases are measured.
    """
    upper = level + 1
    context = find_context(config, upper)
    if upper in config.synthesized_levels:
        assert config.frames is not None
        frame = config.hops[upper] * config.frames.frame_codes(upper)
        context = 3 * frame + (bands.SPANS["tones"] + PHASE_FRAMES) * bands.HOPS["tones"]
    return _round_up(find_context(config, level) + context, config.unit)


def find_matching_unit(config: VQVAEConfig) -> int:
    """Returns the samples at whose multiples a window of `VQVAE.match_sound` may begin."""
    return math.lcm(config.unit, magnitude_matching.UNIT)


def find_matching_context(config: VQVAEConfig) -> int:
    """Returns the samples on each side on which a sample of `VQVAE.match_sound` depends.

    The prediction of a frame's log magnitudes depends on two frames on each side.
    """
    assert config.frames is not None
    reach = magnitude_matching.find_reach(config.frames.matching_rounds)
    return _round_up(reach + 2 * config.unit, find_matching_unit(config))


def find_matching_spans(config: VQVAEConfig, samples: int, window: int) -> list[Span]:
    """Returns windows for `VQVAE.match_sound`, of at least `window` samples if there are several.

    The last one ends at the next multiple of `find_matching_unit` after `samples`.
    """
    unit, margin = find_matching_unit(config), find_matching_context(config)
    sizes = samples, max(window, 3 * margin)
    total, window = (_round_up(size, unit) for size in sizes)
    return find_spans(total, window, margin, unit)


def _find_frame_context(config: VQVAEConfig, frames: FrameConfig, level: int) -> int:
    """Returns `find_context` of encoders and decoders of frames, not rounded."""
    frame = config.hops[level] * frames.frame_codes(level)
    reach = frames.span + sum(config.make_stack(frames.depths[level]).dilations) + 1
    contexts = [reach * frame]
    for stream in frames.streams(level):
        hop = frame // len(stream.positions)
        reach = sum(config.make_stack(frames.band_depth).dilations) + 1
        contexts.append(reach * hop + bands.count_window(stream.turn[0], hop))
    return max(contexts)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


class Sound(Protocol):
    """The interface of a sound that is read window by window."""

    @property
    def samples(self) -> int:
        """The length of the sound."""

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out`, float32 [time], with the mono samples from `start` on."""


@dataclass(frozen=True)
class ArraySound:
    """A sound in memory, float32 [time]."""

    mono: np.ndarray

    @property
    def samples(self) -> int:
        """The length of the sound."""
        return len(self.mono)

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out` with the samples from `start` on."""
        out[:] = self.mono[start : start + len(out)]


@dataclass(frozen=True)
class MonoSection:
    """A section of a sound [time, channels] of any kind, mixed to mono.

    Attributes:
      start, stop: of the section.
    """

    sound: Samples
    start: int
    stop: int

    @property
    def samples(self) -> int:
        """The length of the section."""
        return self.stop - self.start

    def read(self, start: int, out: np.ndarray) -> None:
        """Fills `out` with the samples from `start` on."""
        first = self.start + start
        out[:] = self.sound[first : first + len(out)].mean(axis=1)
