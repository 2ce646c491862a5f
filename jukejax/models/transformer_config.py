"""The configuration of a Sparse Transformer (paper section 4.1)."""

import dataclasses
import functools

from jukejax.ops.attention.backends import BACKENDS
from jukejax.ops.attention.kinds import AttentionKind, Grid, attention_pattern, prime_length

REMAT = ("none", "dots", "block", "full")


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The configuration of a stack of attention blocks for windows of `seq_len` codes.

    Attributes:
      emb_dim: width of the residual stream.
      num_layers: depth.
      num_heads: attention heads, of `attn_ratio * emb_dim` features together.
      seq_len: positions in a window.
      num_blocks: rows of the attention grid.
      attn_order: OpenAI's number of the attention pattern, 0 to 12.
      attn_ratio: attention state / emb_dim.
      mlp_ratio: MLP state / emb_dim.
      init_scale: factor of the standard deviations of all initial weights.
      res_scale: scale the residual branch by 1 / num_layers.
      zero_out: initialize the output of every residual branch with zeros.
      spread: keys of each row in kind 5.
      lyric_len: lyric tokens at the start of the sequence, for kind 7; set by `PriorConfig`.
      encoder_len: states of the lyric encoder, for kind 6; set by `PriorConfig`.
      causal: False removes the causal mask, for lyric encoders: positions attend to later ones too.
      attn_dropout, resid_dropout, emb_dropout: of probabilities, of each branch's output, of the
        embeddings.
      attention: backend in training and prefill, one of ops.attention.backends.BACKENDS.
      remat: the residuals saved for the backward pass: "none" all of them, "dots" the results of
        matmuls, "block" the input of each layer, "full" the input of each cycle.
    """

    emb_dim: int
    num_layers: int
    num_heads: int
    seq_len: int
    num_blocks: int
    attn_order: int = 2
    attn_ratio: float = 0.25
    mlp_ratio: float = 1.0
    init_scale: float = 1.0
    res_scale: bool = False
    zero_out: bool = False
    spread: int = 8
    lyric_len: int = 0
    encoder_len: int = 0
    causal: bool = True
    attn_dropout: float = 0.0
    resid_dropout: float = 0.0
    emb_dropout: float = 0.0
    attention: str = "auto"
    remat: str = "none"

    def __post_init__(self) -> None:
        for name in ("emb_dim", "num_layers", "num_heads", "seq_len", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.attn_dim % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the attention state {self.attn_dim} "
                f"(attn_ratio {self.attn_ratio} x emb_dim {self.emb_dim})"
            )
        if self.attention not in BACKENDS:
            options = ", ".join(BACKENDS)
            raise ValueError(f"attention is {self.attention!r}; known: {options}")
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}; known: {', '.join(REMAT)}")
        _ = self.pattern  # checks attn_order

    @property
    def dropout(self) -> bool:
        """Returns true if any dropout rate is above 0, so that training needs random numbers."""
        return any((self.attn_dropout, self.resid_dropout, self.emb_dropout))

    @property
    def attn_dim(self) -> int:
        return int(self.attn_ratio * self.emb_dim)

    @property
    def head_dim(self) -> int:
        return self.attn_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        return int(self.mlp_ratio * self.emb_dim)

    @functools.cached_property
    def pattern(self) -> tuple[AttentionKind, ...]:
        return attention_pattern(self.attn_order, self.num_layers)

    @property
    def grid(self) -> Grid:
        """The shape of a window.

        Raises:
          ValueError: `num_blocks` does not divide `seq_len`. A prior's own stack, which excludes
            the lyrics of its sequence, may be so.
        """
        if self.seq_len % self.num_blocks:
            letters = f" ({self.lyric_len} of them lyrics)" if self.lyric_len else ""
            raise ValueError(
                f"seq_len {self.seq_len}{letters} does not divide into {self.num_blocks} rows "
                "(num_blocks)"
            )
        return Grid(
            num_rows=self.num_blocks,
            block_len=self.seq_len // self.num_blocks,
            spread=self.spread,
            prime_len=prime_length(self.lyric_len, self.num_blocks) if self.lyric_len else 0,
        )
