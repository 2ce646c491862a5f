"""Decoding with an autoregressive model: weights, prefilled caches, single steps.

Letters: B batch, T seq_len, E emb_dim, V vocab_size, S encoder length.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.models import transformer
from jukejax.models.autoregressive import (
    LOOKBACK_PANELS,
    OUTPUT_PANELS,
    Autoregressive,
    AutoregressiveConfig,
    Conditions,
    name_output_table,
)
from jukejax.models.block import Block
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import Cache, cast_caches
from jukejax.ops.chunks import map_chunks
from jukejax.ops.decode_weights import (
    cast_matrix,
    find_layout,
    lay_out_weights,
    name_axes,
    pack_panels,
)

WEIGHTS = ("float", "int8")


class DecodeWeights(NamedTuple):
    """Parameters laid out for decoding: cast, with one tree for each layer.

    Attributes:
      outer: embeddings, start token and output weights.
      layers: parameters of each block.
    """

    outer: Tree
    layers: tuple[Tree, ...]

    @property
    def dtype(self) -> jnp.dtype:
        """The compute type; matrices may be in eight bits."""
        return self.outer["position_embedding"].dtype

    @property
    def cache_dtype(self) -> jnp.dtype:
        """The type of cached keys and values: that of the matrices if those are in float16."""
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(self.layers)}
        return jnp.dtype(jnp.float16) if jnp.dtype(jnp.float16) in dtypes else self.dtype

    def model(self, config: AutoregressiveConfig) -> Autoregressive:
        """Returns the module that `outer` belongs to."""
        rows = self.layers[0]["mlp_in"].get("rows")
        groups = 1 if rows is None or rows.ndim == 2 else len(rows)
        return Autoregressive(config, self.dtype, math.gcd(groups, config.vocab_size))


def prepare_decode_weights(
    config: AutoregressiveConfig,
    params: Tree,
    dtype: jnp.dtype,
    weights: str = "float",
    platform: str | None = None,
    *,
    is_partitioned: bool = False,
) -> DecodeWeights:
    """Casts `params` and unstacks the layers, once for a whole sampling run.

    Args:
      config: of the model.
      params: of `Autoregressive`.
      dtype: compute type.
      weights: one of WEIGHTS; "int8" stores matrices in eight bits, with float32 scales.
      platform: of the devices that decode; None: the default backend (see ops/decode_weights.py).
      is_partitioned: several devices share the weights (see `name_weight_axes`).
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known: {', '.join(WEIGHTS)}")
    outer = dict(params)
    layers = transformer.unstack_layers(config.transformer.pattern, outer.pop("transformer"))
    int8 = weights == "int8"
    stored = jnp.int8 if int8 else dtype
    layout = find_layout(platform, stored, is_partitioned=is_partitioned)
    lay_out = functools.partial(lay_out_weights, dtype=dtype, int8=int8, layout=layout)
    outer = lay_out(outer)
    if layout.name == "panels" and config.has_output:
        table = name_output_table(config)
        rows = outer[table] if int8 else cast_matrix(params[table], dtype, layout)
        outer[OUTPUT_PANELS] = pack_panels(rows.T)
        if config.merged_decoder:
            del outer[table]
    if layout.name == "panels" and config.lookback:
        kernels = cast_matrix(params["lookback"], dtype, layout)
        outer[LOOKBACK_PANELS] = pack_panels(kernels.reshape(-1, kernels.shape[-1]))
    return DecodeWeights(outer, tuple(map(lay_out, layers)))


def name_weight_axes(
    config: AutoregressiveConfig, weights: DecodeWeights, boxed: Tree
) -> DecodeWeights:
    """Gives the shapes of decode weights, prepared as partitioned, their logical axis names.

    Args:
      config: of the model.
      weights: shapes.
      boxed: shapes of `Autoregressive`'s parameters, whose leaves have logical axis names.
    """
    outer = dict(boxed)
    pattern, stacks = config.transformer.pattern, outer.pop("transformer")
    layers = jax.eval_shape(functools.partial(transformer.unstack_layers, pattern), stacks)
    return DecodeWeights(
        _box_leaves(weights.outer, outer, 0),
        tuple(
            _box_leaves(of_layer, names, 1)
            for of_layer, names in zip(weights.layers, layers, strict=True)
        ),
    )


def _box_leaves(weights: Tree, boxed: Tree, num_stacked: int) -> Tree:
    """Boxes the leaves of `weights` with the names in `boxed` after the first `num_stacked`."""
    axes = {
        name: tuple(leaf.names[num_stacked:])
        for name, leaf in boxed.items()
        if isinstance(leaf, nn.Partitioned)
    }
    return {
        name: _box_leaves(leaf, boxed[name], num_stacked)
        if isinstance(leaf, dict)
        else nn.Partitioned(leaf, names=name_axes(name, axes))
        for name, leaf in weights.items()
    }


def prefill_caches(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    codes: jax.Array,
    conditions: Conditions,
    length: jax.Array,
    chunk: int | None = None,
) -> tuple[Cache, ...]:
    """Computes the caches after the first `length` codes of a window [B, T].

    Only the shortest of `list_prefixes` that has these codes is computed.

    Args:
      config: of the model.
      weights: of the model.
      codes: int [B, T]; those from `length` on are ignored.
      conditions: of the window.
      length: int32 scalar.
      chunk: items that are computed at once, which bounds the memory of the activations; None: all.
    """
    prefixes = list_prefixes(config)
    branches = [
        functools.partial(_prefill_prefix, config, weights, codes, conditions, chunk, prefix)
        for prefix in prefixes
    ]
    index = (length > jnp.array(prefixes)).sum()
    return jax.lax.switch(index, branches, length)


def list_prefixes(config: AutoregressiveConfig) -> tuple[int, ...]:
    """Returns the numbers of positions that a prefill may compute, in order: 0, a half, and all.

    Only all where layers attend to lyrics. A half has at least two rows of the grid; summaries do
    without it, whose cache lacks the last of the computed rows.
    """
    stack = config.transformer
    kinds = set(stack.pattern)
    if kinds & {AttentionKind.ENCODER_DECODER, AttentionKind.PRIME}:
        return (stack.seq_len,)
    half, farthest = stack.seq_len // 2, max(config.lookback, default=0)
    has_halves = stack.num_blocks >= 4 and stack.num_blocks % 2 == 0 and half > farthest
    if not has_halves or kinds & {AttentionKind.SUMMARY, AttentionKind.SUMMARY_SPREAD}:
        return 0, stack.seq_len
    return 0, half, stack.seq_len


def _prefill_prefix(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    codes: jax.Array,
    conditions: Conditions,
    chunk: int | None,
    prefix: int,
    length: jax.Array,
) -> tuple[Cache, ...]:
    """Computes `prefill_caches` from the first `prefix` positions of the window."""
    stack = config.transformer
    if prefix == 0:
        return transformer.empty_caches(stack, len(codes), weights.cache_dtype)
    rows = prefix * stack.num_blocks // stack.seq_len
    short = dataclasses.replace(stack, seq_len=prefix, num_blocks=rows)
    model = weights.model(config)

    def run(codes: jax.Array, conditions: Conditions) -> tuple[Cache, ...]:
        x = model.apply({"params": weights.outer}, codes, conditions, True, method=model.embed)
        states = conditions.encoder_states
        _, caches = transformer.prefill_layers(short, weights.layers, x, states, length)
        return cast_caches(caches, weights.cache_dtype)

    if conditions.code_cond is not None:
        conditions = conditions._replace(code_cond=conditions.code_cond[:, :prefix])
    caches = map_chunks(run, chunk, codes[:, :prefix], conditions)
    return transformer.extend_caches(stack, caches)


def compute_attention_probabilities(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    codes: jax.Array,
    conditions: Conditions,
    layer: int,
) -> jax.Array:
    """Computes one layer's attention probabilities for codes [B, T], with the axes of `attend`."""
    pattern = config.transformer.pattern
    model = weights.model(config)
    x = model.apply({"params": weights.outer}, codes, conditions, True, method=model.embed)
    states = conditions.encoder_states
    for kind, params in zip(pattern[:layer], weights.layers, strict=False):
        x = Block(config.transformer, kind, parent=None).apply({"params": params}, x, states)

    def probabilities(block: Block, x: jax.Array) -> jax.Array | None:
        return block.attn(block.attn_norm(x), states, probabilities=True)[1]

    block = Block(config.transformer, pattern[layer], parent=None)
    return block.apply({"params": weights.layers[layer]}, x, method=probabilities)


def decode_step(
    config: AutoregressiveConfig,
    weights: DecodeWeights,
    caches: tuple[Cache, ...],
    previous: jax.Array,
    conditions: Conditions,
    position: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Computes logits [B, V] at `position` from the code before it [B], and the new caches.

    For a model with `lookback` the codes before are those of `token_loop.select_previous`.
    """
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
