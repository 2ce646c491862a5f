"""The token loop over one window as a program of its own, for timing and for compiling ahead.

It is the engine's loop (`token_loop.sample_tokens` over `autoregressive.step`) with zeros for
conditions, as in the reference bench, and random weights.

Dimensions: B batch, T seq_len.
"""

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.benches import shapes
from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.inference.token_loop import NO_FILTER, TrackNoise, sample_tokens
from jukejax.models import autoregressive
from jukejax.models.autoregressive import (
    Autoregressive,
    AutoregressiveConfig,
    Conditions,
    DecodeWeights,
)
from jukejax.models.block import TransformerConfig
from jukejax.models.transformer import empty_caches
from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cpu import library as compiled
from jukejax.runtime import precision
from jukejax.training.tasks.prior import prior_config

# OpenAI's 1b_lyrics: 384 letters before 6144 codes, in 64 rows (design: its table of models).
PRIOR_1B = dict(
    emb_dim=2048, num_layers=72, seq_len=6528, num_heads=2, num_blocks=64, attn_order=12,
    lyric_len=384,
)  # fmt: skip
MODELS = shapes.TRANSFORMERS | {"prior_1b": PRIOR_1B}


class Arguments(NamedTuple):
    """What the program takes; caches and codes are given away to it."""

    weights: DecodeWeights
    caches: Tree
    codes: jax.Array
    start: jax.Array
    stop: jax.Array
    keys: jax.Array


@dataclasses.dataclass(frozen=True)
class Loop:
    """The loop of one model at one batch.

    Attributes:
      config: of the model.
      batch: sequences side by side.
      dtype: what is computed in.
      weights: "float" or "int8".
      platform: where it will run; None: here.
    """

    config: AutoregressiveConfig
    batch: int
    dtype: jnp.dtype
    weights: str = "float"
    platform: str | None = None

    @property
    def stack(self) -> TransformerConfig:
        return self.config.transformer

    def arguments(self) -> Arguments:
        """Their shapes."""
        stack, number = self.stack, jax.ShapeDtypeStruct((), jnp.int32)

        def make(key):
            told = Conditions(None, jnp.zeros((1, stack.emb_dim)))
            codes = jnp.zeros((1, stack.seq_len), jnp.int32)
            params = nn.meta.unbox(Autoregressive(self.config).init(key, codes, told))["params"]
            return autoregressive.decode_weights(
                self.config, params, self.dtype, self.weights, self.platform
            )

        return Arguments(
            weights=jax.eval_shape(make, jax.random.key(0)),
            caches=jax.eval_shape(lambda: empty_caches(stack, self.batch, self.dtype)),
            codes=jax.ShapeDtypeStruct((self.batch, stack.seq_len), jnp.int32),
            start=number,
            stop=number,
            keys=jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.batch)),
        )

    def run(self, weights, caches, codes, start, stop, keys) -> tuple[Tree, jax.Array]:
        """Draws codes `start` to `stop` - 1: (caches, codes)."""
        wide = self.stack.emb_dim
        told = Conditions(
            jnp.zeros((self.batch, 1, wide), self.dtype), jnp.zeros((self.batch, wide), self.dtype)
        )

        def step(caches, previous, position):
            return autoregressive.step(self.config, weights, caches, previous, told, position)

        state = sample_tokens(
            step,
            caches,
            codes,
            start=start,
            stop=stop,
            noise=TrackNoise(keys, jnp.int32(0)),
            temperature=jnp.float32(1.0),
            logits_filter=NO_FILTER,
        )
        return state.cache, state.codes

    def compile(self, device: jax.Device | None = None) -> jax.stages.Compiled:
        """For `device`, which need not be here; None: the default one."""
        told = self.arguments()
        program = jax.jit(self.run, donate_argnums=(1, 2))
        if device is None:
            return program.lower(*told).compile()
        place = jax.sharding.SingleDeviceSharding(device)
        told = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), told
        )
        with compiled.left_out():
            return program.lower(*told).compile()

    def cache_bytes(self) -> int:
        """Of one sequence, all layers, keys and values."""
        return sum(self._layer_bytes(kind) for kind in self.stack.pattern)

    def dense_cache_bytes(self) -> int:
        """What a cache that keeps the whole window of every layer would take."""
        return self.stack.num_layers * self._layer_bytes(AttentionKind.DENSE)

    def _layer_bytes(self, kind: AttentionKind) -> int:
        stack = self.stack
        shape = caches.cache_shape(
            kind, stack.grid, 1, stack.num_heads, stack.head_dim, stack.encoder_len
        )
        return 2 * math.prod(shape) * jnp.dtype(self.dtype).itemsize

    def bytes_per_step(self) -> int:
        """What a step must read, on average over the window: each matrix once, the keys and values
        that its position sees of each sequence, one row of the tables."""
        weights = self.arguments().weights
        outer = dict(weights.outer)
        outer.pop("position_embedding")
        if self.config.merged_decoder:
            outer.pop("code_embedding")
        read = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((outer, weights.layers))
        )
        position = 2 * self.stack.attn_dim * jnp.dtype(self.dtype).itemsize
        seen = sum(seen_positions(kind, self.stack) for kind in self.stack.pattern)
        return int(read + self.batch * position * seen)


def seen_positions(kind: AttentionKind, stack: TransformerConfig) -> float:
    """Keys that a position sees in a layer, on average over the window."""
    rows, length = stack.num_blocks, stack.grid.block_len
    prime = stack.grid.prime_len
    return {
        AttentionKind.DENSE: (stack.seq_len + 1) / 2,
        AttentionKind.BLOCK: (length + 1) / 2,
        AttentionKind.TRANSPOSED_BLOCK: (rows + 1) / 2,
        AttentionKind.PREVIOUS_BLOCK: length * (rows - 1) / rows,
        AttentionKind.SUMMARY: (rows + 1) / 2,
        AttentionKind.SUMMARY_SPREAD: stack.spread * (rows + 1) / 2,
        AttentionKind.ENCODER_DECODER: stack.encoder_len,
        AttentionKind.PRIME: prime - prime * (prime - 1) / 2 / stack.seq_len,
    }[kind]


def make(name: str, *, batch: int, dtype: str, weights: str, platform: str | None = None) -> Loop:
    """The loop of one of MODELS, or of the prior that a config file trains.

    Raises:
      ValueError: the name is neither, or the config trains no prior.
    """
    if name in MODELS:
        stack = freeze(TransformerConfig, MODELS[name], f"--config={name}")
        model = AutoregressiveConfig(shapes.CODES, stack, labelled=True)
    else:
        config = shapes.load_config(name)
        if "transformer" not in config.model:
            raise ValueError(f"--config={name} trains no prior, so there is nothing to decode")
        model = prior_config(config, None).autoregressive
        if model.transformer.encoder_len:
            raise ValueError(
                f"--config={name} reads lyrics with an encoder of its own, which is not timed "
                "here; take one without, or with lyrics among the codes"
            )
    return Loop(model, batch, precision.compute_dtype(dtype), weights, platform)


def random_arguments(loop: Loop, seed: int = 0) -> Arguments:
    """Weights of standard deviation 0.02 (0.02 / 127 a step in eight bits), empty caches."""
    told = loop.arguments()

    def fill(leaf: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
        if leaf.dtype == jnp.int8:
            return jax.random.randint(key, leaf.shape, -127, 128, jnp.int8)
        return (0.02 * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)

    leaves, tree = jax.tree.flatten(told.weights)
    draw = jax.jit(fill, static_argnums=0)
    drawn = [draw(leaf, jax.random.key(seed + i)) for i, leaf in enumerate(leaves)]
    return Arguments(
        weights=jax.tree.unflatten(tree, drawn),
        caches=empty_caches(loop.stack, loop.batch, loop.dtype),
        codes=jnp.zeros(told.codes.shape, jnp.int32),
        start=jnp.int32(0),
        stop=jnp.int32(0),
        keys=jax.random.split(jax.random.key(seed), loop.batch),
    )
