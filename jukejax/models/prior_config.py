"""The config of a prior, the model of one level."""

import dataclasses
import functools
import math

from jukejax.models.autoregressive import AutoregressiveConfig
from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig, LyricsKind
from jukejax.models.label_config import LabelConfig
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
      labels: see `LabelConfig`; timing at the top level only. None without labels.
      lyrics: conditioning on lyrics; None without lyrics.
      lookback, merged_decoder: see `AutoregressiveConfig`.
      context_dropout: share of the training windows in which codes before a random position are
        hidden, so that the model learns what the labels alone tell; see `draw_hidden_codes`.
      turn_temperatures: by turn (`labels.turns`), factors of the temperature of sampling; a small
        model spreads its predictions too widely, of some bands of the audio more than of others.
        (): all are 1.
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
    turn_temperatures: tuple[float, ...] = ()

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
        turns = 0 if self.labels is None else self.labels.turns
        if self.turn_temperatures and len(self.turn_temperatures) != turns:
            raise ValueError(
                f"turn_temperatures has {len(self.turn_temperatures)} numbers, and labels.turns is "
                f"{turns}; give one for each turn, or none"
            )
        if not all(0 < factor < math.inf for factor in self.turn_temperatures):
            raise ValueError(f"turn_temperatures is {self.turn_temperatures}, must be positive")
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
