"""A prior: the autoregressive model of one level with its conditioners.

The top level is conditioned on labels (`LabelConfig`: artist, genre, timing and, in ours, grid) and
optionally on lyrics; an upsampler on the codes above it and optionally on labels. The label vector
is that of `data.labels`. Letters: B batch, T seq_len, E emb_dim, N lyric tokens, V vocabulary.

A model of the "single" kind reads lyrics and music as one sequence of N + T positions. Its
vocabulary is that of the lyrics, followed by the codebook: music codes are shifted by `code_shift`.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.autoregressive import Autoregressive, Conditions
from jukejax.models.conditioners import CodeConditioner, LyricEncoder, LyricsKind
from jukejax.models.labels import LabelConditioner
from jukejax.models.prior_config import PriorConfig


class Predictions(NamedTuple):
    """Teacher-forced logits in float32.

    Attributes:
      codes: [B, T, V]; for "single", V is the joint vocabulary, lyrics first.
      lyrics: [B, N, V]; for "separate", V is the vocabulary of the lyrics. None without lyrics.
    """

    codes: jax.Array
    lyrics: jax.Array | None


class Prior(nn.Module):
    """Maps codes, codes of the level above and labels to logits."""

    config: PriorConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        config = self.config
        emb_dim = config.transformer.emb_dim
        init_scale = config.transformer.init_scale
        self.autoregressive = Autoregressive(config.autoregressive, self.dtype)
        if config.upper is not None:
            self.code_conditioner = CodeConditioner(config.upper, emb_dim, self.dtype)
        if config.labels is not None:
            self.label_conditioner = LabelConditioner(
                config.labels,
                emb_dim,
                config.seq_len,
                timing=config.upper is None,
                init_scale=init_scale,
            )
        if config.lyrics is not None and config.lyrics.kind == LyricsKind.SEPARATE:
            self.lyric_encoder = LyricEncoder(config.lyrics, emb_dim, init_scale, self.dtype)

    def compute_conditions(
        self,
        upper_codes: jax.Array | None = None,
        labels: jax.Array | None = None,
        deterministic: bool = True,
    ) -> Conditions:
        """Computes the conditions of a window, once for all its positions.

        Args:
          upper_codes: int [B, *upper.find_shape], for upsamplers.
          labels: int [B, label_width], for labeled models.
          deterministic: no dropout.
        """
        config = self.config
        label_emb = code_cond = states = None
        if config.labels is not None:
            metadata, lyrics = split_labels(config, labels)
            label_emb, code_cond = self.label_conditioner(metadata)
            if config.num_lyrics and not config.lyric_prefix:
                states = self.lyric_encoder(lyrics, deterministic)
        if config.upper is not None:
            upper = self.code_conditioner(upper_codes)
            code_cond = upper if code_cond is None else upper + code_cond.astype(upper.dtype)
        if code_cond is not None and config.lyric_prefix:  # they condition the music only
            code_cond = jnp.pad(code_cond, ((0, 0), (config.lyric_prefix, 0), (0, 0)))
        return Conditions(code_cond, label_emb, states)

    def compute_predictions(
        self,
        codes: jax.Array,
        upper_codes: jax.Array | None = None,
        labels: jax.Array | None = None,
        deterministic: bool = True,
        hidden: jax.Array | None = None,
    ) -> Predictions:
        """Computes teacher-forced logits of the codes [B, T] and of the lyrics.

        Args:
          hidden: bool [B, T], codes that are no input; None: all are inputs.
        """
        config = self.config
        conditions = self.compute_conditions(upper_codes, labels, deterministic)
        if hidden is not None:
            hidden = jnp.pad(hidden, ((0, 0), (config.lyric_prefix, 0)))
        tokens = build_sequence(config, codes, labels)
        logits = self.autoregressive(tokens, conditions, deterministic, hidden)
        lyrics = None
        if config.lyric_prefix:
            lyrics, logits = logits[:, : config.lyric_prefix], logits[:, config.lyric_prefix :]
        elif conditions.encoder_states is not None:
            lyrics = self.lyric_encoder.predict(conditions.encoder_states)
        return Predictions(logits, lyrics)

    def __call__(
        self,
        codes: jax.Array,
        upper_codes: jax.Array | None = None,
        labels: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Computes teacher-forced logits of the codes, float32 [B, T, V]."""
        return self.compute_predictions(codes, upper_codes, labels, deterministic).codes


def split_labels(config: PriorConfig, labels: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Splits label vectors into (entries before the lyrics, lyric tokens [B, N])."""
    assert labels is not None
    assert config.labels is not None
    if labels.shape[-1] != config.label_width:
        raise ValueError(
            f"label vectors have {labels.shape[-1]} entries, expected {config.label_width} "
            f"(labels.max_genres is {config.labels.max_genres}, lyric tokens {config.num_lyrics})"
        )
    start = config.label_width - config.num_lyrics
    return labels[:, :start], labels[:, start:]


def build_sequence(config: PriorConfig, codes: jax.Array, labels: jax.Array | None) -> jax.Array:
    """Builds the model's sequence of codes [B, T], after the lyrics for the "single" kind."""
    if not config.lyric_prefix:
        return codes
    _, lyrics = split_labels(config, labels)
    return jnp.concatenate([lyrics, codes + config.code_shift], axis=1)


def extract_codes(config: PriorConfig, tokens: jax.Array) -> jax.Array:
    """Extracts the codes of a sequence, [B, T].

    NOTE: as in OpenAI's code a "single" model may sample a letter at a music position. The model
    continues from that letter, and the codes have a 0 there.
    """
    return jnp.maximum(tokens[:, config.lyric_prefix :] - config.code_shift, 0)
