"""The autoregressive model of one sequence of codes.

Position t is predicted from codes before t: the input is shifted right by one, and the first
slot holds the label embedding or a learned start token (Jukebox paper, section 4).

Letters: B batch, T seq_len, E emb_dim, V vocab_size, S encoder length.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.transformer import Transformer
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.decode_weights import multiply_panels, multiply_rows
from jukejax.ops.embedding import add_positions
from jukejax.ops.logical_axes import constrain


class Conditions(NamedTuple):
    """The conditioning inputs of a window; any of them may be None.

    Attributes:
      code_cond: [B, T or 1, E], added at every position: upper codes or timing.
      label_emb: [B, E], in the start slot.
      encoder_states: [B, S, E] for the layers of kind 6.
    """

    code_cond: jax.Array | None = None
    label_emb: jax.Array | None = None
    encoder_states: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig:
    """The configuration of a transformer with its embeddings.

    Attributes:
      vocab_size: number of codes.
      transformer: the stack.
      labeled: the start slot holds `label_emb`, so there is no learned start token.
      lookback: distances of earlier codes that are inputs of every position beside the code just
        before it, an extension for codes that take turns: the same turns of the last frames.
      merged_decoder: separate output weights, and `code_cond` is added to the input only (OpenAI's
        5b); otherwise weights are tied, and `code_cond` is also added to the stack's output.
      has_output: False for an encoder, whose output is that of the stack.
    """

    vocab_size: int
    transformer: TransformerConfig
    labeled: bool = False
    lookback: tuple[int, ...] = ()
    merged_decoder: bool = False
    has_output: bool = True

    def __post_init__(self) -> None:
        stack = self.transformer
        far = [distance for distance in self.lookback if not 1 < distance < stack.seq_len]
        if far:
            raise ValueError(
                f"lookback {self.lookback}: {far[0]} must be 2 to {stack.seq_len - 1}, inside the "
                "window"
            )
        grid = stack.grid
        if AttentionKind.SUMMARY_SPREAD in stack.pattern and stack.spread > grid.block_len:
            raise ValueError(f"spread {stack.spread} exceeds a row of {grid.block_len}")
        if AttentionKind.ENCODER_DECODER in stack.pattern and not stack.encoder_len:
            raise ValueError(f"attn_order {stack.attn_order} needs a lyric encoder (lyrics)")
        if AttentionKind.PRIME in stack.pattern and not 0 < grid.prime_len <= stack.seq_len:
            raise ValueError(
                f"attn_order {stack.attn_order} needs lyrics inside the {stack.seq_len} positions, "
                f"not {stack.lyric_len} lyric tokens"
            )


# The names of weights for decoding in panels: of the output, and of all distances of `lookback`.
OUTPUT_PANELS, LOOKBACK_PANELS = "output_panels", "lookback_panels"


def name_output_table(config: AutoregressiveConfig) -> str:
    """Returns the name of the table of output weights."""
    return "output" if config.merged_decoder else "code_embedding"


class Autoregressive(nn.Module):
    """Maps codes [B, T] and conditions to logits [B, T, V], teacher-forced.

    Attributes:
      groups: number of groups into which single steps split the rows of the output weights, see
        `ops.decode_weights.Layout`.
    """

    config: AutoregressiveConfig
    dtype: jnp.dtype = jnp.float32
    groups: int = 1

    def setup(self) -> None:
        config, stack = self.config, self.config.transformer
        shape = (config.vocab_size, stack.emb_dim)
        self.code_embedding = self._table("code_embedding", 0.02, shape, ("vocab", "embed"))
        self.position_embedding = self._table(
            "position_embedding", 0.01, (stack.seq_len, stack.emb_dim), ("position", "embed")
        )
        if not config.labeled:
            self.start_token = self._table("start_token", 0.01, (1, stack.emb_dim), (None, "embed"))
        if config.has_output and config.merged_decoder and not self._has_panels():
            self.output = self._table("output", 0.02, shape, ("vocab", "embed"))
        if config.lookback:
            kernels = (len(config.lookback), stack.emb_dim, stack.emb_dim)
            init = nn.initializers.normal(stack.emb_dim**-0.5)
            init = nn.with_logical_partitioning(init, (None, "embed", None))
            self.lookback = self.param("lookback", init, kernels)
        self.transformer = Transformer(stack)
        self.dropout = nn.Dropout(stack.emb_dropout)

    def _has_panels(self) -> bool:
        """Returns true if the output weights are also stored in panels, or only so."""
        return self.has_variable("params", OUTPUT_PANELS)

    def _table(
        self, name: str, std: float, shape: tuple[int, int], axes: tuple[str | None, str]
    ) -> jax.Array:
        init = nn.initializers.normal(std * self.config.transformer.init_scale)
        return self.param(name, nn.with_logical_partitioning(init, axes), shape)

    def start(self, batch: int, conditions: Conditions) -> jax.Array:
        """Returns the embedding of the start slot, [B, E]."""
        if self.config.labeled:
            assert conditions.label_emb is not None
            return conditions.label_emb.astype(self.dtype)
        return jnp.broadcast_to(self.start_token, (batch, self.start_token.shape[1])).astype(
            self.dtype
        )

    def _scale(self, name: str) -> jax.Array | None:
        """Returns the scales [V] of a table in eight bits; None for one in floating point."""
        return self.get_variable("params", f"{name}_scale")

    def _embed_codes(self, codes: jax.Array) -> jax.Array:
        """Returns the embeddings of codes [...], [..., E]."""
        scale = self._scale("code_embedding")
        if scale is None:
            return self.code_embedding.astype(self.dtype)[codes]
        return (self.code_embedding[codes] * scale[codes][..., None]).astype(self.dtype)

    def embed(
        self,
        codes: jax.Array,
        conditions: Conditions,
        deterministic: bool,
        hidden: jax.Array | None = None,
    ) -> jax.Array:
        """Embeds codes [B, T] as the stack's input [B, T, E], shifted right by one.

        T may also be less than seq_len, with conditions of as many positions.

        Args:
          hidden: bool [B, T], codes that are no input of any position; None: all are inputs.
        """
        embedded = self._embed_codes(codes)
        if hidden is not None:
            embedded = jnp.where(hidden[..., None], 0.0, embedded)
        start = self.start(codes.shape[0], conditions)[:, None]
        x = jnp.concatenate([start, embedded[:, :-1]], axis=1)
        for i, distance in enumerate(self.config.lookback):
            earlier = embedded[:, :-distance] @ self.lookback[i].astype(self.dtype)
            x = x + jnp.pad(earlier, ((0, 0), (distance, 0), (0, 0)))
        positions = self.position_embedding[: x.shape[1]].astype(self.dtype)
        x = self.dropout(x, deterministic=deterministic)
        positions = self.dropout(positions, deterministic=deterministic)
        x = add_positions(x, positions)
        if conditions.code_cond is not None:
            x = x + conditions.code_cond.astype(self.dtype)
        return constrain(x, "batch", "time", "act_embed")

    def embed_step(
        self,
        previous: jax.Array,
        code_cond: jax.Array | None,
        start: jax.Array,
        position: jax.Array,
    ) -> jax.Array:
        """Embeds the code before `position` [B] as the stack's input at `position`, [B, E].

        With `lookback`, `previous` is [B, 1 + its length]: that code, and those at the distances.
        """
        last = previous[:, 0] if self.config.lookback else previous
        x = jnp.where(position == 0, start, self._embed_codes(last))
        if self.config.lookback:
            x = x + self._look_back(previous[:, 1:], position)
        x = x + self.position_embedding.astype(self.dtype)[position]
        return x if code_cond is None else x + code_cond.astype(self.dtype)

    def _look_back(self, earlier: jax.Array, position: jax.Array) -> jax.Array:
        """Sums the inputs of the codes [B, len(lookback)] at the distances before `position`."""
        distances = jnp.array(self.config.lookback)
        embedded = self._embed_codes(earlier)  # [B, len(lookback), E]
        embedded = jnp.where((position >= distances)[:, None], embedded, 0.0).astype(self.dtype)
        flat = embedded.reshape(len(earlier), -1)
        panels = self.get_variable("params", LOOKBACK_PANELS)
        if panels is None:
            kernel = self.lookback.astype(self.dtype).reshape(flat.shape[1], -1)
            return flat @ kernel
        return multiply_panels(flat, panels, embedded.shape[-1]).astype(self.dtype)

    def predict(self, x: jax.Array, code_cond: jax.Array | None) -> jax.Array:
        """Maps the stack's output [..., E] to logits [..., V] in float32."""
        if not self.config.merged_decoder and code_cond is not None:
            x = x + code_cond.astype(x.dtype)
        logits = self._multiply_output(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)
        return constrain(logits, "batch", "time", "act_vocab") if logits.ndim == 3 else logits

    def _multiply_output(self, x: jax.Array) -> jax.Array:
        """Multiplies [N, E] with the output weights. float32 [N, V]."""
        name = name_output_table(self.config)
        scale = self._scale(name)
        if self._has_panels():
            panels = self.get_variable("params", OUTPUT_PANELS)
            return multiply_panels(x, panels, self.config.vocab_size, scale)
        table = getattr(self, name).astype(x.dtype)
        if self.groups > 1:
            table = table.reshape(self.groups, -1, x.shape[1])
        logits = multiply_rows(x, table, jnp.float32)
        return logits if scale is None else logits * scale

    def compute_activations(
        self,
        codes: jax.Array,
        conditions: Conditions,
        deterministic: bool = True,
        hidden: jax.Array | None = None,
    ) -> jax.Array:
        """Computes the stack's output [B, T, E], without the conditions added to it."""
        x = self.embed(codes, conditions, deterministic, hidden)
        return self.transformer(x, conditions.encoder_states, deterministic)

    def __call__(
        self,
        codes: jax.Array,
        conditions: Conditions,
        deterministic: bool = True,
        hidden: jax.Array | None = None,
    ) -> jax.Array:
        x = self.compute_activations(codes, conditions, deterministic, hidden)
        return self.predict(x, conditions.code_cond) if self.config.has_output else x
