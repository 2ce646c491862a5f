"""A prior: the autoregressive model of one level with its conditioners.

The top level is conditioned on artist, genre, timing and optionally lyrics; an upsampler on the
codes above it and optionally on labels. A label vector is [total, offset, length, artist, genres
..., lyric tokens ...]. Letters: B batch, T seq_len, E emb_dim, N lyric tokens, V vocabulary.

A model of the "single" kind reads lyrics and music as one sequence of N + T positions. Its
vocabulary is that of the lyrics, followed by the codebook: music codes are shifted by `code_shift`.
"""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.autoregressive import Autoregressive, AutoregressiveConfig, Conditions
from jukejax.models.conditioners import (
    CodeConditioner,
    CodeConditionerConfig,
    LyricEncoder,
    LyricsConfig,
    LyricsKind,
)
from jukejax.models.labels import LabelConditioner, LabelConfig, compute_grid_bins
from jukejax.models.transformer_config import TransformerConfig


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """One level's prior.

    Attributes:
      level: 0 is the finest.
      codebook_size: codes of this level's codebook.
      hop_length: samples for each code of this level.
      transformer: the stack; its `seq_len` is the window, in codes, without lyrics.
      upper: the conditioner on the level above; None at the top level.
      labels: artist, genre (and timing at the top level); None without labels.
      lyrics: conditioning on lyrics; None without lyrics.
      lookback, merged_decoder: see `AutoregressiveConfig`.
      context_dropout: share of the training windows in which codes before a random position are
        hidden, so that the model learns what the labels alone tell; see `draw_hidden_codes`.
    """

    level: int
    codebook_size: int
    hop_length: int
    transformer: TransformerConfig
    upper: CodeConditionerConfig | None = None
    labels: LabelConfig | None = None
    lyrics: LyricsConfig | None = None
    lookback: tuple[int, ...] = ()
    context_dropout: float = 0.0
    merged_decoder: bool = False

    def __post_init__(self) -> None:
        if self.upper is not None and self.seq_len % self.upper.ratio:
            raise ValueError(
                f"seq_len {self.seq_len} is no multiple of {self.upper.ratio}, the codes of level "
                f"{self.level} for one code of level {self.level + 1}"
            )
        if self.transformer.lyric_len or self.transformer.encoder_len:
            raise ValueError(
                "transformer.lyric_len and transformer.encoder_len follow from lyrics.num_tokens; "
                "remove them"
            )
        if not self.transformer.causal:
            raise ValueError(
                "transformer.causal is False: a prior would predict codes from themselves; it is "
                "for lyrics.encoder only"
            )
        if not 0 <= self.context_dropout < 1:
            raise ValueError(f"context_dropout is {self.context_dropout}, must be in [0, 1)")
        if self.lyrics is not None and self.labels is None:
            raise ValueError("lyrics need labels: the tokens are the end of the label vector")
        if self.merged_decoder and self.lyric_prefix:
            raise ValueError("merged_decoder cannot be combined with lyrics.kind 'single'")
        _ = self.autoregressive  # checks that the pattern has the lyrics that it attends to

    @property
    def seq_len(self) -> int:
        """The codes of a window."""
        return self.transformer.seq_len

    @property
    def sample_length(self) -> int:
        """The audio samples of a window."""
        return self.seq_len * self.hop_length

    @property
    def has_reference(self) -> bool:
        """Returns true if the codes of a reference are inputs too."""
        return self.upper is not None and self.upper.reference

    @property
    def num_lyrics(self) -> int:
        """The lyric tokens of a window."""
        return 0 if self.lyrics is None else self.lyrics.num_tokens

    @property
    def lyric_prefix(self) -> int:
        """The positions of the sequence before the music."""
        single = self.lyrics is not None and self.lyrics.kind == LyricsKind.SINGLE
        return self.num_lyrics if single else 0

    @property
    def code_shift(self) -> int:
        """The offset of music codes in the model's vocabulary."""
        return self.lyrics.vocab_size if self.lyrics is not None and self.lyric_prefix else 0

    @property
    def label_width(self) -> int:
        """The entries of a label vector, lyrics included; 0 without labels."""
        return 0 if self.labels is None else self.labels.width + self.num_lyrics

    @functools.cached_property
    def autoregressive(self) -> AutoregressiveConfig:
        """The model of the whole sequence, lyrics included if they are in it."""
        return AutoregressiveConfig(
            vocab_size=self.codebook_size + self.code_shift,
            transformer=dataclasses.replace(
                self.transformer,
                seq_len=self.seq_len + self.lyric_prefix,
                lyric_len=self.lyric_prefix,
                encoder_len=self.num_lyrics - self.lyric_prefix,
            ),
            labeled=self.labels is not None,
            lookback=self.lookback,
            merged_decoder=self.merged_decoder,
        )


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


HIDDEN_TURNS = 0.75  # share of the turns of a window that are hidden


def draw_hidden_codes(
    config: PriorConfig, labels: jax.Array | None, batch: int, key: jax.Array
) -> jax.Array:
    """Draws the codes that are hidden from the inputs of training windows, bool [B, T].

    In `context_dropout` of the windows they are the codes before a position that is drawn
    uniformly. A code that many earlier codes tell teaches nothing about a label that tells it too,
    such as the key; without them it does. Of codes that take turns, each turn is hidden with the
    probability `HIDDEN_TURNS`.

    Args:
      labels: int [B, label_width], or None.
    """
    key_windows, key_ends, key_turns = jax.random.split(key, 3)
    windows = jax.random.bernoulli(key_windows, config.context_dropout, (batch, 1))
    ends = jax.random.randint(key_ends, (batch, 1), 0, config.seq_len + 1)
    hidden = windows & (jnp.arange(config.seq_len) < ends)
    if config.labels is not None and config.labels.turns:
        metadata, _ = split_labels(config, labels)
        turns = compute_grid_bins(config.labels, metadata, config.seq_len)["turn"]
        shape = (batch, config.labels.turns)
        hidden_turns = jax.random.bernoulli(key_turns, HIDDEN_TURNS, shape)
        hidden &= jnp.take_along_axis(hidden_turns, turns, axis=1)
    return hidden


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


def compute_bits_per_code(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes the mean cross entropy in bits; logits [B, T, V], codes int [B, T]."""
    return _code_bits(logits, codes).mean()


def compute_example_bits(
    config: PriorConfig, predictions: Predictions, codes: jax.Array
) -> jax.Array:
    """Computes the bits per code of each window of a batch, float32 [B]."""
    return _code_bits(predictions.codes, codes + config.code_shift).mean(axis=-1)


def _code_bits(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes the cross entropy of each code in bits, float32 [B, T]."""
    logits = logits.astype(jnp.float32)
    target = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - target) / jnp.log(2.0)


def compute_losses(
    config: PriorConfig, predictions: Predictions, codes: jax.Array, labels: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes (loss, parts), all in bits: "bits_per_code" and, with lyrics, "bits_per_letter".

    The loss weights the parts by their lengths, and the lyrics by `loss_fraction` too.
    """
    bits = compute_bits_per_code(predictions.codes, codes + config.code_shift)
    if config.lyrics is None:
        return bits, {"bits_per_code": bits}
    _, lyrics = split_labels(config, labels)
    assert predictions.lyrics is not None
    letters = compute_bits_per_code(predictions.lyrics, lyrics)
    share = config.num_lyrics / (config.num_lyrics + config.seq_len)
    loss = config.lyrics.loss_fraction * share * letters + (1 - share) * bits
    return loss, {"bits_per_code": bits, "bits_per_letter": letters}
