"""The autoregressive model over one sequence of codes: embed, shift, attend, predict.

Position t is predicted from codes before t: the input is shifted right by one and the free first
slot holds the label embedding, or a learned start token (Jukebox paper, section 4).

Dimensions: B batch, T seq_len, E emb_dim, V vocab_size, S encoder length.
"""

import dataclasses
import functools
import math
import os
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.models import transformer
from jukejax.models.block import Block, TransformerConfig
from jukejax.models.transformer import Transformer
from jukejax.ops import decode_weights as rows
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import Cache
from jukejax.ops.chunks import in_chunks
from jukejax.ops.int8 import quantize
from jukejax.ops.logical_axes import constrain

WEIGHTS = ("float", "int8")
SCALES = {  # of the matrices: what their scales are called, and the axis that products sum over
    "kernel": ("scale", 0),
    "code_embedding": ("code_embedding_scale", 1),
    "output": ("output_scale", 1),
}


class Conditions(NamedTuple):
    """What a window is told beside its codes; any of them may be None.

    Attributes:
      code_cond: [B, T or 1, E], added at every position: upper codes or timing.
      label_emb: [B, E], takes the start slot.
      encoder_states: [B, S, E] for the layers of kind 6.
    """

    code_cond: jax.Array | None = None
    label_emb: jax.Array | None = None
    encoder_states: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig:
    """A transformer with its embeddings.

    Attributes:
      vocab_size: codes it reads and predicts.
      transformer: the stack.
      labelled: the start slot holds `label_emb`, so there is no learned start token.
      merged_decoder: output weights of its own, and `code_cond` is added at the input only
        (OpenAI's 5b); otherwise tied weights, and `code_cond` is added after the stack too.
      has_output: False for an encoder, which ends with the stack's activations.
    """

    vocab_size: int
    transformer: TransformerConfig
    labelled: bool = False
    merged_decoder: bool = False
    has_output: bool = True

    def __post_init__(self):
        stack = self.transformer
        if AttentionKind.ENCODER_DECODER in stack.pattern and not stack.encoder_len:
            raise ValueError(f"attn_order {stack.attn_order} needs a lyric encoder (lyrics)")
        if AttentionKind.PRIME in stack.pattern and not 0 < stack.grid.prime_len <= stack.seq_len:
            raise ValueError(
                f"attn_order {stack.attn_order} needs lyrics inside the {stack.seq_len} positions, "
                f"not {stack.lyric_len} lyric tokens"
            )


class Autoregressive(nn.Module):
    """Codes [B, T] and conditions to logits [B, T, V], teacher-forced.

    Attributes:
      groups: of the output weights' rows, in products with few positions (ops/decode_weights.py).
    """

    config: AutoregressiveConfig
    dtype: jnp.dtype = jnp.float32
    groups: int = 1

    def setup(self):
        config, stack = self.config, self.config.transformer
        scale, shape = stack.init_scale, (config.vocab_size, stack.emb_dim)

        def table(name, std, shape, axes):
            init = nn.with_logical_partitioning(nn.initializers.normal(std * scale), axes)
            return self.param(name, init, shape)

        self.code_embedding = table("code_embedding", 0.02, shape, ("vocab", "embed"))
        self.position_embedding = table(
            "position_embedding", 0.01, (stack.seq_len, stack.emb_dim), ("position", "embed")
        )
        if not config.labelled:
            self.start_token = table("start_token", 0.01, (1, stack.emb_dim), (None, "embed"))
        if config.has_output and config.merged_decoder:
            self.output = table("output", 0.02, shape, ("vocab", "embed"))
        self.transformer = Transformer(stack)
        self.dropout = nn.Dropout(stack.emb_dropout)

    def start(self, batch: int, conditions: Conditions) -> jax.Array:
        """The embedding of the start slot, [B, E]."""
        if self.config.labelled:
            return conditions.label_emb.astype(self.dtype)
        return jnp.broadcast_to(self.start_token, (batch, self.start_token.shape[1])).astype(
            self.dtype
        )

    def _scale(self, name: str) -> jax.Array | None:
        """The scales [V] of a table in eight bits; None for one in floating point."""
        return self.get_variable("params", f"{name}_scale")

    def _rows(self, codes: jax.Array) -> jax.Array:
        """The embeddings of codes [...], [..., E]."""
        scale = self._scale("code_embedding")
        if scale is None:
            return self.code_embedding.astype(self.dtype)[codes]
        return (self.code_embedding[codes] * scale[codes][..., None]).astype(self.dtype)

    def embed(self, codes: jax.Array, conditions: Conditions, deterministic: bool) -> jax.Array:
        """Codes [B, T] to the stack's input [B, T, E]."""
        x = self._rows(codes[:, :-1])
        x = jnp.concatenate([self.start(codes.shape[0], conditions)[:, None], x], axis=1)
        positions = self.position_embedding.astype(self.dtype)
        x = self.dropout(x, deterministic=deterministic)
        positions = self.dropout(positions, deterministic=deterministic)
        # NOTE: an outer product, whose gradient is a product too: XLA's CPU kernels take twenty
        # times as long for the sum over the batch that a broadcast's gradient is.
        x = x + jnp.einsum("b,te->bte", jnp.ones(len(x), x.dtype), positions)
        if conditions.code_cond is not None:
            x = x + conditions.code_cond.astype(self.dtype)
        return constrain(x, "batch", "time", "act_embed")

    def embed_step(
        self, previous: jax.Array, code_cond: jax.Array | None, start: jax.Array, position
    ) -> jax.Array:
        """The code before `position` [B] to the stack's input there, [B, E]."""
        x = jnp.where(position == 0, start, self._rows(previous))
        x = x + self.position_embedding.astype(self.dtype)[position]
        return x if code_cond is None else x + code_cond.astype(self.dtype)

    def predict(self, x: jax.Array, code_cond: jax.Array | None) -> jax.Array:
        """The stack's output [..., E] to logits [..., V] in float32."""
        name = "output" if self.config.merged_decoder else "code_embedding"
        weights, scale = getattr(self, name), self._scale(name)
        if not self.config.merged_decoder and code_cond is not None:
            x = x + code_cond.astype(x.dtype)
        flat = x.reshape(-1, x.shape[-1])  # one axis of positions, as in `Projection`
        table = weights.astype(x.dtype)
        if self.groups > 1:
            table = table.reshape(self.groups, -1, flat.shape[1])
        logits = rows.product(flat, table, jnp.float32)
        logits = (logits if scale is None else logits * scale).reshape(*x.shape[:-1], -1)
        return constrain(logits, "batch", "time", "act_vocab") if logits.ndim == 3 else logits

    def activations(
        self, codes: jax.Array, conditions: Conditions, deterministic: bool = True
    ) -> jax.Array:
        """The stack's output [B, T, E], before conditions are added again."""
        x = self.embed(codes, conditions, deterministic)
        return self.transformer(x, conditions.encoder_states, deterministic)

    def __call__(
        self, codes: jax.Array, conditions: Conditions, deterministic: bool = True
    ) -> jax.Array:
        x = self.activations(codes, conditions, deterministic)
        return self.predict(x, conditions.code_cond) if self.config.has_output else x


class DecodeWeights(NamedTuple):
    """Parameters laid out for decoding: cast once, layers apart."""

    outer: Tree
    layers: tuple[Tree, ...]

    @property
    def dtype(self) -> jnp.dtype:
        """What is computed in; matrices may be kept in eight bits."""
        return self.outer["position_embedding"].dtype

    def model(self, config: AutoregressiveConfig) -> Autoregressive:
        """The module that `outer` belongs to."""
        kept = self.layers[0]["mlp_in"].get("rows")
        cores = 1 if kept is None or kept.ndim == 2 else len(kept)
        return Autoregressive(config, self.dtype, math.gcd(cores, config.vocab_size))


def decode_weights(
    config: AutoregressiveConfig,
    params: Tree,
    dtype: jnp.dtype,
    weights: str = "float",
    platform: str | None = None,
) -> DecodeWeights:
    """Casts `params` and takes the stack apart, once for a whole sampling run.

    Args:
      weights: one of WEIGHTS; "int8" keeps matrices in eight bits, with float32 scales beside them.
      platform: where they will run; None: here. For GPUs kernels [in, out] are kept as rows
        [out, in]: of a product with one vector XLA writes out all summands, unless the axis that it
        sums over is the last. For CPUs they are kept as groups of rows, one a core
        (ops/decode_weights.py).
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known: {', '.join(WEIGHTS)}")
    params = dict(params)
    stacks = params.pop("transformer")
    layers = transformer.unstack_layers(config.transformer.pattern, stacks)
    groups = {"gpu": 1, "cpu": os.cpu_count() or 1}.get(platform or jax.default_backend())
    lay_out = functools.partial(_lay_out, dtype=dtype, int8=weights == "int8", groups=groups)
    return DecodeWeights(lay_out(params), tuple(map(lay_out, layers)))


def _lay_out(tree: Tree, *, dtype: jnp.dtype, int8: bool, groups: int | None) -> Tree:
    """A tree whose kernels [in, out] and tables [V, E] are kept as the flags say.

    Args:
      groups: of the rows of kernels, at most; None: kernels are kept as they are.
    """
    if not isinstance(tree, dict):
        return jnp.asarray(tree).astype(dtype)  # cast on the device
    found = {}
    for name, part in tree.items():
        scale_name, axis = SCALES.get(name, (None, None))
        if scale_name is None:
            found[name] = _lay_out(part, dtype=dtype, int8=int8, groups=groups)
            continue
        if int8:
            part, found[scale_name] = quantize(jnp.asarray(part), axis)
        else:
            part = jnp.asarray(part).astype(dtype)
        if name == "kernel" and groups is not None:
            name, part = "rows", part.T
            each = math.gcd(groups, len(part))
            part = part if each == 1 else part.reshape(each, -1, part.shape[1])
        found[name] = part
    return found


def prefill(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    codes: jax.Array,
    conditions: Conditions,
    length: jax.Array,
    chunk: int | None = None,
) -> tuple[Cache, ...]:
    """Caches after the first `length` codes of a window [B, T]; later codes may be anything.

    Args:
      chunk: items that pass through the stack at once, so that the activations of a large batch
        need not fit; None: all.
    """
    model = weights.model(config)

    def run(codes: jax.Array, conditions: Conditions) -> tuple[Cache, ...]:
        x = model.apply({"params": weights.outer}, codes, conditions, True, method=model.embed)
        states = conditions.encoder_states
        return transformer.prefill_layers(config.transformer, weights.layers, x, states, length)[1]

    return in_chunks(run, chunk, codes, conditions)


def attention_probabilities(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    codes: jax.Array,
    conditions: Conditions,
    layer: int,
) -> jax.Array:
    """What each position of codes [B, T] attends to in one layer, laid out as `attend` does."""
    pattern = config.transformer.pattern
    model = weights.model(config)
    x = model.apply({"params": weights.outer}, codes, conditions, True, method=model.embed)
    states = conditions.encoder_states
    for kind, params in zip(pattern[:layer], weights.layers, strict=False):
        x = Block(config.transformer, kind, parent=None).apply({"params": params}, x, states)

    def probabilities(block: Block, x: jax.Array) -> jax.Array:
        return block.attn(block.attn_norm(x), states, probabilities=True)[1]

    block = Block(config.transformer, pattern[layer], parent=None)
    return block.apply({"params": weights.layers[layer]}, x, method=probabilities)


def step(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    caches: tuple[Cache, ...],
    previous: jax.Array,
    conditions: Conditions,
    position: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Logits [B, V] of the code at `position`, given the one before it [B], and the new caches."""
    model = weights.model(config)
    outer = {"params": weights.outer}
    code_cond = conditions.code_cond
    if code_cond is not None:
        at = jnp.minimum(position, code_cond.shape[1] - 1)
        code_cond = jax.lax.dynamic_index_in_dim(code_cond, at, 1, keepdims=False)
    start = model.apply(outer, previous.shape[0], conditions, method=model.start)
    x = model.apply(outer, previous, code_cond, start, position, method=model.embed_step)
    x, caches = transformer.step_layers(config.transformer, weights.layers, caches, x, position)
    return model.apply(outer, x, code_cond, method=model.predict), caches
