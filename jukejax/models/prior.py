"""A prior: the autoregressive model of one level, with everything that conditions it.

The top level is told artist, genre and timing; an upsampler the codes above it, and the labels if
it has them. Dimensions: B batch, T seq_len, E emb_dim, V codebook_size.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.conditioners import (
    CodeConditioner,
    CodeConditionerConfig,
    LabelConditioner,
    LabelConfig,
)
from jukejax.models.transformer import TransformerConfig


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """One level's prior.

    Attributes:
      level: 0 is the finest.
      codebook_size: codes of this level's codebook.
      hop_length: samples a code of this level stands for.
      transformer: the stack; its `seq_len` is the window.
      upper: the conditioner on the level above; None at the top level.
      labels: artist, genre (and timing at the top level); None for a model without.
      merged_decoder: see `AutoregressiveConfig`.
    """

    level: int
    codebook_size: int
    hop_length: int
    transformer: TransformerConfig
    upper: CodeConditionerConfig | None = None
    labels: LabelConfig | None = None
    merged_decoder: bool = False

    def __post_init__(self):
        if self.upper is not None and self.seq_len % self.upper.ratio:
            raise ValueError(
                f"seq_len {self.seq_len} is no multiple of {self.upper.ratio}, the codes of level "
                f"{self.level} for one code of level {self.level + 1}"
            )

    @property
    def seq_len(self) -> int:
        return self.transformer.seq_len

    @property
    def sample_length(self) -> int:
        """Audio samples a window covers."""
        return self.seq_len * self.hop_length

    @functools.cached_property
    def autoregressive(self) -> AutoregressiveConfig:
        return AutoregressiveConfig(
            vocab_size=self.codebook_size,
            transformer=self.transformer,
            labelled=self.labels is not None,
            merged_decoder=self.merged_decoder,
        )


class Prior(nn.Module):
    """Codes, upper codes and labels to logits."""

    config: PriorConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        config = self.config
        emb_dim = config.transformer.emb_dim
        self.autoregressive = Autoregressive(config.autoregressive, self.dtype)
        if config.upper is not None:
            self.code_conditioner = CodeConditioner(config.upper, emb_dim, self.dtype)
        if config.labels is not None:
            self.label_conditioner = LabelConditioner(
                config.labels,
                emb_dim,
                config.seq_len,
                timing=config.upper is None,
                init_scale=config.transformer.init_scale,
            )

    def conditions(
        self, upper_codes: jax.Array | None = None, labels: jax.Array | None = None
    ) -> Conditions:
        """Everything a window is told, computed once for it.

        Args:
          upper_codes: int [B, T // ratio], for upsamplers.
          labels: int [B, 4 + max_genres], for labelled models.
        """
        label_emb = code_cond = None
        if self.config.labels is not None:
            label_emb, code_cond = self.label_conditioner(labels)
        if self.config.upper is not None:
            code_cond = self.code_conditioner(upper_codes)
        return Conditions(code_cond, label_emb)

    def __call__(
        self,
        codes: jax.Array,
        upper_codes: jax.Array | None = None,
        labels: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Teacher-forced logits, float32 [B, T, V]."""
        conditions = self.conditions(upper_codes, labels)
        return self.autoregressive(codes, conditions, deterministic)


def bits_per_code(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Mean cross entropy in bits, a float32 scalar; logits [B, T, V], codes int [B, T]."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean() / jnp.log(2.0)
