"""What a prior is told: codes of the level above, artist, genre and timing (Jukebox section 4.2).

Dimensions: B batch, T seq_len, E emb_dim.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.layers import DecoderBlock
from jukejax.models.transformer import LayerNorm

# Columns of a label vector: total length, offset and window length in samples, artist, genres.
TOTAL, OFFSET, LENGTH, ARTIST, GENRES = 0, 1, 2, 3, slice(4, None)


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """Artist and genre in the start slot, timing at every position.

    Attributes:
      num_artists: rows of the artist table; 0 is "unknown".
      num_genres: rows of the genre table.
      max_genres: genres a track may have; their embeddings are summed.
      timing_bins: values that total length, position and relative position are cut into.
      min_duration: seconds; shorter tracks count as this long.
      max_duration: seconds; longer tracks count as this long.
      sample_rate: of the audio, in Hz.
    """

    num_artists: int
    num_genres: int
    max_genres: int = 1
    timing_bins: int = 128
    min_duration: float = 17.84
    max_duration: float = 600.0
    sample_rate: int = 44100


@dataclasses.dataclass(frozen=True)
class CodeConditionerConfig:
    """A dilated convolution stack over the codes of the level above, and its upsampling.

    Attributes:
      vocab_size: codes of the level above.
      downs, stride: the level above is stride**downs times coarser.
      width, depth: of the residual stacks.
      dilation_growth_rate, dilation_cycle, res_scale, m_conv, zero_out: see `ResidualStack`.
      init_scale: of the embedding.
      remat: recompute the blocks in the backward pass.
    """

    vocab_size: int
    downs: int
    stride: int
    width: int = 1024
    depth: int = 16
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = 8
    res_scale: bool = False
    m_conv: float = 1.0
    zero_out: bool = False
    init_scale: float = 1.0
    remat: bool = False

    @property
    def ratio(self) -> int:
        """Codes of this level for one code of the level above."""
        return self.stride**self.downs


class CodeConditioner(nn.Module):
    """Codes of the level above, int [B, T // ratio], to [B, T, features]."""

    config: CodeConditionerConfig
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, codes: jax.Array, extra: jax.Array | None = None) -> jax.Array:
        """`extra` [B, T // ratio, features] is added to the embedded codes."""
        config = self.config
        init = nn.with_logical_partitioning(
            nn.initializers.normal(0.02 * config.init_scale), ("vocab", "embed")
        )
        table = self.param("code_embedding", init, (config.vocab_size, self.features))
        x = table.astype(self.dtype)[codes]
        if extra is not None:
            x = x + extra.astype(self.dtype)
        x = DecoderBlock(
            in_features=self.features,
            width=config.width,
            out_features=self.features,
            downs=config.downs,
            stride=config.stride,
            depth=config.depth,
            m_conv=config.m_conv,
            dilation_growth_rate=config.dilation_growth_rate,
            dilation_cycle=config.dilation_cycle,
            res_scale=config.res_scale,
            zero_out=config.zero_out,
            remat=config.remat,
            dtype=self.dtype,
            name="upsample",
        )(x)
        return LayerNorm(name="norm")(x)


def timing_bins(config: LabelConfig, labels: jax.Array, seq_len: int) -> dict[str, jax.Array]:
    """The bin of each timing signal, int32: "total" [B, 1], "absolute" and "relative" [B, seq_len].

    NOTE: OpenAI's code stops with an assertion at the edges of the ranges; here the outermost bins
    take what lies beyond.
    """
    total, offset, length = (
        labels[:, i : i + 1].astype(jnp.float32) for i in (TOTAL, OFFSET, LENGTH)
    )
    within = jnp.arange(seq_len, dtype=jnp.float32)[None, :] / seq_len

    def cut(start, end, low, high):
        position = start if end is None else start + (end - start) * within
        scaled = (position - low) / (high - low)
        index = jnp.floor(config.timing_bins * scaled).astype(jnp.int32)
        return jnp.clip(index, 0, config.timing_bins - 1)

    longest = config.max_duration * config.sample_rate
    end = offset + length
    return {
        "total": cut(total, None, config.min_duration * config.sample_rate, longest),
        "absolute": cut(offset, end, 0.0, longest),
        # A window may reach past the end of a short track.
        "relative": cut(offset / total, jnp.minimum(end / total, 1.0), 0.0, 1.0),
    }


class LabelConditioner(nn.Module):
    """Label vectors int [B, 4 + max_genres] to (start slot [B, E], timing [B, T, E] or None)."""

    config: LabelConfig
    features: int
    seq_len: int
    timing: bool
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, labels: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        config = self.config
        if labels.shape[-1] != 4 + config.max_genres:
            raise ValueError(
                f"label vectors have {labels.shape[-1]} entries, expected {4 + config.max_genres} "
                f"(labels.max_genres is {config.max_genres})"
            )

        def table(name, rows):
            std = 0.01 * self.init_scale
            init = nn.with_logical_partitioning(nn.initializers.normal(std), ("vocab", "embed"))
            return self.param(name, init, (rows, self.features))

        genres = labels[:, GENRES]
        known = (genres >= 0)[..., None]  # -1 pads the bag of genres
        bag = jnp.where(known, table("genre", config.num_genres)[jnp.maximum(genres, 0)], 0.0)
        start = bag.sum(axis=1) + table("artist", config.num_artists)[labels[:, ARTIST]]
        if not self.timing:
            return start, None
        bins = timing_bins(config, labels, self.seq_len)
        timing = sum(table(name, config.timing_bins)[index] for name, index in bins.items())
        return start, timing
