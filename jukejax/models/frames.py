"""Encoders and decoders of the VQ-VAE that work at the rate of the codes, an extension.

OpenAI's encoders halve the rate step by step, and most of their time is spent near the rate of the
audio. Here one matrix product maps a frame of audio to the features of a code, residual stacks work
at the rate of the codes only, and one product maps features to a windowed frame that is added to
its neighbors, as in Vocos (Siuzdak 2023) and WaveNeXt (Okamoto et al. 2023). The codes of a level
may take turns, each for one band of the audio (`ops.turns`).

Letters: B batch, T time.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.models.layers import Conv, ResidualStack, StackConfig
from jukejax.ops import bands
from jukejax.ops.frames import add_frames, cut_frames
from jukejax.ops.turns import (
    Stream,
    Turn,
    find_streams,
    join_streams,
    pad_frames,
    split_streams,
)


@dataclass(frozen=True)
class FrameConfig:
    """The shape of such encoders and decoders.

    Attributes:
      widths: channels of each level's residual stacks; those of encoders of one band have half.
      depths: residual blocks of each level's decoder, and of its encoder without turns.
      span: length of a decoder's frame, and of an encoder's without turns, in hops.
      turns: for each level, what the codes of a frame describe in turn (`ops.turns`): (kind, lower
        edge, upper edge in Hz), of a kind in `bands.KINDS`; (): every code describes all the audio.
        A level whose turns are all "tones" or "strokes" is spectral: its codes are learned by the
        prediction of these descriptions, and its decoder has no gradient to them.
      band_depth: residual blocks of the encoder of one band.
      synthesis: a spectral level has no learned decoder; its codes sound as tones and noise of the
        log magnitudes that they predict (`ops.synthesis`).
      sample_rate: in Hz, to which the edges refer.
      matching_rounds: filters that bring the sound of the finer levels near the log magnitudes that
        the codes of the coarsest level predict, which is spectral (`ops.magnitude_matching`).
      matching_contrast: dB by which each of these filters lowers what is half-way between two
        semitones, for music in equal temperament whose A is 440 Hz; 0: nothing.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    span: int = 4
    turns: tuple[tuple[Turn, ...], ...] = ()
    band_depth: int = 2
    synthesis: bool = False
    sample_rate: int = 44_100
    matching_rounds: int = 0
    matching_contrast: float = 0.0

    def streams(self, level: int) -> tuple[Stream, ...]:
        """Returns the streams of a level, () if its codes do not take turns."""
        return find_streams(self.turns[level]) if self.turns else ()

    def frame_codes(self, level: int) -> int:
        """Returns the number of codes of a frame."""
        return max(1, len(self.turns[level])) if self.turns else 1

    def is_spectral(self, level: int) -> bool:
        """Returns true if the codes of a level carry no phase."""
        streams = self.streams(level)
        return bool(streams) and all(stream.turn[0] != "waveform" for stream in streams)

    def check_turns(self, hops: tuple[int, ...]) -> None:
        """Checks the turns of levels with these hops.

        Raises:
          ValueError: turns are missing, or cannot be described.
        """
        if not self.turns:
            return
        if len(self.turns) != len(hops):
            raise ValueError(
                f"frames.turns must have one entry for each of the {len(hops)} levels, not "
                f"{len(self.turns)}"
            )
        for level, hop in enumerate(hops):
            kinds = {kind for kind, _, _ in self.turns[level]}
            if not kinds <= set(bands.KINDS) or len(kinds) == 2 + ("waveform" not in kinds):
                raise ValueError(
                    f"frames.turns of level {level} have the kinds {sorted(kinds)}: take "
                    '"waveform", or "tones" and "strokes"'
                )
            for stream in self.streams(level):
                kind, low, high = stream.turn
                part = hop * self.frame_codes(level) // len(stream.positions)
                if self.frame_codes(level) % len(stream.positions):
                    raise ValueError(
                        f"frames.turns of level {level}: {stream.turn} comes "
                        f"{len(stream.positions)} times, which does not divide the "
                        f"{self.frame_codes(level)} turns"
                    )
                if part % bands.HOPS.get(kind, 1):
                    raise ValueError(
                        f"frames.turns of level {level}: a code of {stream.turn} describes {part} "
                        f"samples, which must be a multiple of {bands.HOPS[kind]}"
                    )
                if not 0 <= low < high:
                    raise ValueError(
                        f"frames.turns of level {level}: the edges of {stream.turn} must rise"
                    )


class FrameEncoder(nn.Module):
    """Maps audio [B, T, channels] to features [B, T / hop, out_features]."""

    hop: int
    span: int
    width: int
    out_features: int
    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = [cut_frames(x[..., i], self.hop, self.span) for i in range(x.shape[-1])]
        x = Conv(self.width, taps=1, dtype=self.dtype, name="in")(jnp.concatenate(channels, -1))
        x = ResidualStack(self.stack, self.dtype, name="stack")(x)
        return Conv(self.out_features, dtype=self.dtype, name="out")(x)


class BandEncoder(nn.Module):
    """Maps the description of a band [B, N, features] to the features of its codes [B, N, E]."""

    width: int
    out_features: int
    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(self.width, taps=1, dtype=self.dtype, name="in")(x)
        x = ResidualStack(self.stack, self.dtype, name="stack")(x)
        return Conv(self.out_features, taps=1, dtype=self.dtype, name="out")(x)


class TurnEncoder(nn.Module):
    """Maps audio [B, T, channels] to features [B, T / hop, out_features] of codes that take turns.

    Each stream has an encoder of its own, which hears nothing but its band.
    """

    hop: int
    turns: tuple[Turn, ...]
    width: int
    out_features: int
    sample_rate: int
    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        streams, num_codes = find_streams(self.turns), x.shape[1] // self.hop
        frame = self.hop * len(self.turns)
        audio = pad_frames(x, frame).astype(jnp.float32).mean(axis=-1)
        parts = []
        for i, stream in enumerate(streams):
            kind, low, high = stream.turn
            description = bands.describe_band(
                audio,
                kind,
                low,
                high,
                hop=frame // len(stream.positions),
                sample_rate=self.sample_rate,
            )
            encoder = BandEncoder(
                self.width, self.out_features, self.stack, self.dtype, name=f"band_{i}"
            )
            parts.append(encoder(description))
        return join_streams(parts, streams)[:, :num_codes]


class SpectrumHeads(nn.Module):
    """Predicts the log magnitudes of each stream of a level from code vectors [B, N, E].

    Codes that serve a decoder of waveforms must tell the phase of every partial, which is as good
    as random to a prior: with 1,024 codes, the entropy of a code of the embedded corpus after the
    one before it was 8.5 bits, and 2.6 bits for codes that serve this prediction.
    """

    hop: int
    turns: tuple[Turn, ...]
    width: int
    sample_rate: int
    dtype: jnp.dtype = jnp.float32

    def describe(self, audio: jax.Array) -> tuple[jax.Array, ...]:
        """Returns the targets of the predictions, from audio [B, T, channels]."""
        mono = audio.astype(jnp.float32).mean(axis=-1)
        return tuple(
            bands.log_magnitudes(mono, *stream.turn, sample_rate=self.sample_rate)
            for stream in find_streams(self.turns)
        )

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """Returns for each stream [B, T / HOPS[kind], bands]."""
        streams = find_streams(self.turns)
        spectra = []
        for i, (stream, codes) in enumerate(zip(streams, split_streams(x, streams), strict=True)):
            kind, low, high = stream.turn
            num_bands = bands.count_bands(kind, low, high)
            hop = self.hop * len(self.turns) // len(stream.positions)
            y = Conv(self.width, dtype=self.dtype, name=f"in_{i}")(codes)
            y = ResidualStack(StackConfig(1, res_scale=True), self.dtype, name=f"stack_{i}")(y)
            size = hop // bands.HOPS[kind] * num_bands
            y = Conv(size, taps=1, dtype=self.dtype, name=f"out_{i}")(y).astype(jnp.float32)
            spectra.append(y.reshape(y.shape[0], -1, num_bands))
        return tuple(spectra)


class FrameDecoder(nn.Module):
    """Maps features [B, N, in_features] to audio [B, N * hop, channels].

    Attributes:
      group: codes of a frame, whose features are decoded together.
    """

    hop: int
    span: int
    width: int
    channels: int
    stack: StackConfig
    group: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        num_codes, frame = x.shape[1], self.group * self.hop
        x = pad_frames(x, self.group)
        x = x.reshape(x.shape[0], -1, self.group * x.shape[-1])
        size = self.span * frame
        x = Conv(self.width, dtype=self.dtype, name="in")(x)
        x = ResidualStack(self.stack, self.dtype, name="stack")(x)
        x = Conv(self.channels * size, taps=1, dtype=self.dtype, name="out")(x)
        # A window without steps: the frames' ends would sound as tones at the rate of the codes.
        frames = x.reshape(*x.shape[:-1], self.channels, size) * _hann(size).astype(x.dtype)
        audio = [add_frames(frames[..., i, :], frame, self.span) for i in range(self.channels)]
        return jnp.stack(audio, axis=-1)[:, : num_codes * self.hop]


def _hann(size: int) -> np.ndarray:
    """Returns a Hann window that is symmetric and nowhere zero, float64 [size]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
