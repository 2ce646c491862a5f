"""Encoder and decoder of one level of the VQ-VAE (Jukebox, section 3 and appendix B.1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.frames import FrameConfig, FrameDecoder, FrameEncoder, TurnEncoder
from jukejax.models.layers import Conv, DecoderBlock, EncoderBlock
from jukejax.models.vqvae_config import VQVAEConfig


def _block_fields(config: VQVAEConfig, level: int, block: int) -> dict:
    """Returns the common fields of encoder and decoder for block number `block` of a level."""
    multiplier = config.multipliers[level]
    return {
        "width": multiplier * config.width,
        "out_features": config.emb_dim,
        "downs": config.downs[block],
        "stride": config.strides[block],
        "depth": multiplier * config.depth,
        "m_conv": config.m_conv,
        "dilation_growth_rate": config.dilation_growth_rate,
        "dilation_cycle": config.dilation_cycle,
        "res_scale": config.res_scale,
        "zero_out": config.zero_out,
        "remat": config.remat,
    }


def _stack_fields(config: VQVAEConfig, depth: int, *, reverse: bool = False) -> dict:
    """Returns the fields of a `ResidualStack` at the rate of the codes."""
    return {
        "depth": depth,
        "m_conv": config.m_conv,
        "dilation_growth_rate": config.dilation_growth_rate,
        "dilation_cycle": config.dilation_cycle,
        "reverse_dilation": reverse,
        "res_scale": config.res_scale,
        "zero_out": config.zero_out,
        "remat": config.remat,
    }


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
        for i in range(self.level + 1):
            x = EncoderBlock(
                **_block_fields(config, self.level, i),
                in_features=config.emb_dim if i else config.channels,
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
                stack=_stack_fields(config, frames.band_depth),
                dtype=self.dtype,
                name="frames",
            )(x)
        return FrameEncoder(
            hop=hop,
            span=frames.span,
            width=width,
            out_features=config.emb_dim,
            stack=_stack_fields(config, frames.depths[level]),
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
                stack=_stack_fields(config, frames.depths[level], reverse=reverse),
                group=frames.frame_codes(level),
                dtype=self.dtype,
                name="frames",
            )(x).astype(jnp.float32)
        for i in reversed(range(self.level + 1)):
            x = DecoderBlock(
                **_block_fields(config, self.level, i),
                in_features=config.emb_dim,
                reverse_dilation=reverse,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
        return Conv(config.channels, dtype=self.dtype, name="out")(x).astype(jnp.float32)
