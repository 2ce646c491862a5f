"""Encoder and decoder of one level of the VQ-VAE (Jukebox, section 3 and appendix B.1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.frames import FrameConfig, FrameDecoder, FrameEncoder, TurnEncoder
from jukejax.models.layers import Conv, DecoderBlock, EncoderBlock
from jukejax.models.vqvae_config import VQVAEConfig


class Encoder(nn.Module):
    """Maps audio [B, T, channels] to one level's features [B, T / hop, emb_dim]."""

    config: VQVAEConfig
    level: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        if config.frames is not None:
            return self._encode_frames(x, config.frames).astype(jnp.float32)
        multiplier = config.multipliers[self.level]
        for i in range(self.level + 1):
            x = EncoderBlock(
                in_features=config.emb_dim if i else config.channels,
                width=multiplier * config.width,
                out_features=config.emb_dim,
                downs=config.downs[i],
                stride=config.strides[i],
                stack=config.make_stack(multiplier * config.depth),
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
        return x.astype(jnp.float32)

    def _encode_frames(self, x: jax.Array, frames: FrameConfig) -> jax.Array:
        """Applies the encoder of `models.frames`."""
        config, level = self.config, self.level
        hop, width = config.hops[level], frames.widths[level]
        if frames.streams(level):
            return TurnEncoder(
                hop=hop,
                turns=frames.turns[level],
                width=width // 2,
                out_features=config.emb_dim,
                sample_rate=frames.sample_rate,
                stack=config.make_stack(frames.band_depth),
                dtype=self.dtype,
                name="frames",
            )(x)
        return FrameEncoder(
            hop=hop,
            span=frames.span,
            width=width,
            out_features=config.emb_dim,
            stack=config.make_stack(frames.depths[level]),
            dtype=self.dtype,
            name="frames",
        )(x)


class Decoder(nn.Module):
    """Maps one level's features to audio; blocks run in the encoder's reverse order."""

    config: VQVAEConfig
    level: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        reverse = config.reverse_decoder_dilation
        if config.frames is not None:
            frames, level = config.frames, self.level
            return FrameDecoder(
                hop=config.hops[level],
                span=frames.span,
                width=frames.widths[level],
                channels=config.channels,
                stack=config.make_stack(frames.depths[level], reverse_dilation=reverse),
                group=frames.frame_codes(level),
                dtype=self.dtype,
                name="frames",
            )(x).astype(jnp.float32)
        multiplier = config.multipliers[self.level]
        for i in reversed(range(self.level + 1)):
            x = DecoderBlock(
                in_features=config.emb_dim,
                width=multiplier * config.width,
                out_features=config.emb_dim,
                downs=config.downs[i],
                stride=config.strides[i],
                stack=config.make_stack(multiplier * config.depth, reverse_dilation=reverse),
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
        return Conv(config.channels, dtype=self.dtype, name="out")(x).astype(jnp.float32)
