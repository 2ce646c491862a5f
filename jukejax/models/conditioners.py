"""The conditions of a prior on the codes of the level above and on lyrics.

Jukebox paper, sections 4.2 and 4.3. Letters: B batch, T seq_len, E emb_dim, N lyric tokens.
"""

import dataclasses
import enum

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.data.lyrics import check_alphabet_name
from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.layers import Conv, DecoderBlock, ResidualStack, StackConfig
from jukejax.models.projection import LayerNorm, Projection
from jukejax.models.transformer_config import TransformerConfig

REFERENCE_TAPS = 9  # of the first convolution over the codes of a reference
REFERENCE_DEPTH = 2  # residual blocks after it


class LyricsKind(enum.StrEnum):
    """The part of the model whose input the lyrics are."""

    SINGLE = "single"  # the prior: lyrics are the start of its sequence (1b_lyrics)
    SEPARATE = "separate"  # an encoder, whose states layers of kind 6 attend to (5b_lyrics)


@dataclasses.dataclass(frozen=True)
class LyricsConfig:
    """The configuration of the lyrics of a window.

    Attributes:
      kind: "single" or "separate".
      num_tokens: characters in a window.
      vocab_size: characters, padding (0) included.
      loss_fraction: weight of the loss of the lyrics.
      encoder: the stack of the lyric encoder, for "separate" only.
      alphabet: "v2", "v3" or "unicode", the characters of the corpus; "": that of the released
        models with `vocab_size` tokens.
      alignment_layer, alignment_head: whose attention aligns letters and music; None: unknown.
    """

    kind: LyricsKind
    num_tokens: int
    vocab_size: int
    loss_fraction: float = 0.4
    encoder: TransformerConfig | None = None
    alphabet: str = ""
    alignment_layer: int | None = None
    alignment_head: int | None = None

    def __post_init__(self) -> None:
        check_alphabet_name(self.alphabet)
        if self.kind not in tuple(LyricsKind):
            raise ValueError(f"lyrics.kind is {self.kind!r}; known: {', '.join(LyricsKind)}")
        object.__setattr__(self, "kind", LyricsKind(self.kind))
        for name in ("num_tokens", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"lyrics.{name} is {getattr(self, name)}, must be at least 1")
        separate = self.kind == LyricsKind.SEPARATE
        if separate != (self.encoder is not None):
            verb = "needs" if separate else "must not have"
            raise ValueError(f"lyrics.kind {str(self.kind)!r} {verb} lyrics.encoder")
        if self.encoder is not None and self.encoder.seq_len != self.num_tokens:
            raise ValueError(
                f"lyrics.encoder.seq_len is {self.encoder.seq_len}, but lyrics.num_tokens is "
                f"{self.num_tokens}"
            )


@dataclasses.dataclass(frozen=True)
class CodeConditionerConfig:
    """The configuration of a dilated convolution stack over the codes of the level above.

    Attributes:
      vocab_size: codes of the level above.
      downs, stride: the level above is stride**downs times coarser.
      width, depth: of the residual stacks.
      dilation_growth_rate, dilation_cycle, res_scale, m_conv, zero_out: see `StackConfig`.
      init_scale: of the embedding.
      remat: recompute the blocks in the backward pass.
      reference: the codes that this level has for the sound of the level above are inputs too, an
        extension (`VQVAE.encode_reference`).
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
    reference: bool = False

    @property
    def ratio(self) -> int:
        """Codes of this level for one code of the level above."""
        return self.stride**self.downs

    @property
    def stack(self) -> StackConfig:
        """Returns the configuration of the residual stacks."""
        return StackConfig(
            depth=self.depth,
            m_conv=self.m_conv,
            dilation_growth_rate=self.dilation_growth_rate,
            dilation_cycle=self.dilation_cycle,
            res_scale=self.res_scale,
            zero_out=self.zero_out,
            remat=self.remat,
        )

    def find_shape(self, seq_len: int) -> tuple[int, ...]:
        """Returns the shape of the codes above a window: [N], or with a reference [N, 1 + ratio].

        In the last axis are the code of the level above and then those of the reference.
        """
        length = seq_len // self.ratio
        return (length, 1 + self.ratio) if self.reference else (length,)


class ReferenceConditioner(nn.Module):
    """Maps codes of a reference sound, int [B, T], to [B, T, features]; starts at zero."""

    config: CodeConditionerConfig
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        width = self.config.width
        init = nn.with_logical_partitioning(nn.initializers.normal(1.0), ("vocab", "embed"))
        table = self.param("code_embedding", init, (self.config.vocab_size, width))
        x = Conv(width, taps=REFERENCE_TAPS, dtype=self.dtype, name="in")(
            table.astype(self.dtype)[codes]
        )
        stack = StackConfig(REFERENCE_DEPTH, dilation_growth_rate=3, res_scale=True)
        x = ResidualStack(stack, self.dtype, name="stack")(x)
        return Conv(self.features, taps=1, zero_out=True, dtype=self.dtype, name="out")(x)


class CodeConditioner(nn.Module):
    """Maps codes above, int [B, *shape] (`find_shape`), to [B, T, features]."""

    config: CodeConditionerConfig
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, codes: jax.Array, extra: jax.Array | None = None) -> jax.Array:
        """Upsamples the embedded codes plus `extra` [B, T // ratio, features], if not None."""
        config, reference = self.config, None
        if config.reference:
            reference = codes[..., 1:].reshape(codes.shape[0], -1)
            codes = codes[..., 0]
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
            stack=config.stack,
            dtype=self.dtype,
            name="upsample",
        )(x)
        if reference is not None:
            reference_conditioner = ReferenceConditioner(
                config, self.features, self.dtype, name="reference"
            )
            x = x + reference_conditioner(reference)
        return LayerNorm(name="norm")(x)


class LyricEncoder(nn.Module):
    """Maps lyric tokens int [B, N] to states [B, N, features] for the layers of kind 6.

    As in OpenAI's code it is causal, with its input shifted by one, since it is trained to predict
    the lyrics: state n depends on the tokens before n.
    """

    config: LyricsConfig
    features: int
    init_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        config = self.config
        assert config.encoder is not None
        inner = AutoregressiveConfig(config.vocab_size, config.encoder, has_output=False)
        self.autoregressive = Autoregressive(inner, self.dtype)
        std = 0.02 * config.encoder.init_scale
        self.projection = Projection(self.features, std, ("embed", "mlp"))
        self.norm = LayerNorm()
        self.output = self.param(
            "output",
            nn.with_logical_partitioning(
                nn.initializers.normal(0.02 * self.init_scale), ("vocab", "embed")
            ),
            (config.vocab_size, self.features),
        )

    def __call__(self, tokens: jax.Array, deterministic: bool = True) -> jax.Array:
        states = self.autoregressive(tokens, Conditions(), deterministic)
        return self.norm(self.projection(states))

    def predict(self, states: jax.Array) -> jax.Array:
        """Computes logits of the lyrics, float32 [B, N, vocab_size]."""
        states = states.astype(jnp.float32)
        return jnp.einsum("bne,ve->bnv", states, self.output.astype(jnp.float32))
