"""Encoders and decoders of the VQ-VAE that work at the rate of the codes, an extension.

OpenAI's encoders halve the rate step by step, and most of their time is spent near the rate of the
audio. Here one matrix product maps a frame of audio to the features of a code, residual stacks work
at the rate of the codes only, and one product maps features to a windowed frame that is added to
its neighbors, as in Vocos (Siuzdak 2023) and WaveNeXt (Okamoto et al. 2023).

Letters: B batch, T time.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.models.layers import Conv, ResidualStack
from jukejax.ops.bands import NUM_BANDS
from jukejax.ops.frames import add_frames, cut_frames


@dataclass(frozen=True)
class FrameConfig:
    """The shape of such encoders and decoders.

    Attributes:
      span: length of a frame in hops.
      spectral: levels whose codes are learned by the prediction of log spectra (`SpectrumHead`)
        instead of audio, which their decoders learn without a gradient to the codes.
      widths: channels of each level's residual stacks.
      depths: residual blocks of each level's encoder, and of its decoder.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    span: int = 4
    spectral: tuple[int, ...] = ()


class FrameEncoder(nn.Module):
    """Maps audio [B, T, channels] to features [B, T / hop, out_features]."""

    hop: int
    span: int
    width: int
    out_features: int
    stack: dict  # fields of `ResidualStack`
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = [cut_frames(x[..., i], self.hop, self.span) for i in range(x.shape[-1])]
        x = Conv(self.width, taps=1, dtype=self.dtype, name="in")(jnp.concatenate(channels, -1))
        x = ResidualStack(**self.stack, dtype=self.dtype, name="stack")(x)
        return Conv(self.out_features, dtype=self.dtype, name="out")(x)


class SpectrumHead(nn.Module):
    """Predicts log spectra [B, N, NUM_BANDS] from code vectors [B, N, in_features].

    Codes that serve a decoder of waveforms must tell the phase of every partial, which is as good
    as random to a prior: with 1,024 codes, the entropy of a code of the embedded corpus after the
    one before it was 8.5 bits, and 3.0 bits for codes that serve this prediction.
    """

    width: int
    depth: int = 2
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(self.width, dtype=self.dtype, name="in")(x)
        x = ResidualStack(
            depth=self.depth,
            dilation_growth_rate=3,
            res_scale=True,
            dtype=self.dtype,
            name="stack",
        )(x)
        return Conv(NUM_BANDS, taps=1, dtype=self.dtype, name="out")(x).astype(jnp.float32)


class FrameDecoder(nn.Module):
    """Maps features [B, N, in_features] to audio [B, N * hop, channels]."""

    hop: int
    span: int
    width: int
    channels: int
    stack: dict  # fields of `ResidualStack`
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = self.span * self.hop
        x = Conv(self.width, dtype=self.dtype, name="in")(x)
        x = ResidualStack(**self.stack, dtype=self.dtype, name="stack")(x)
        x = Conv(self.channels * size, taps=1, dtype=self.dtype, name="out")(x)
        # A window without steps: the frames' ends would sound as tones at the rate of the codes.
        frames = x.reshape(*x.shape[:-1], self.channels, size) * _hann(size).astype(x.dtype)
        audio = [add_frames(frames[..., i, :], self.hop, self.span) for i in range(self.channels)]
        return jnp.stack(audio, axis=-1)


def _hann(size: int) -> np.ndarray:
    """Returns a Hann window that is symmetric and nowhere zero, float64 [size]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
