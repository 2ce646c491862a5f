"""The token loop over one window as a separate program, to be timed or compiled ahead of time.

It is the loop of the sampler (`token_loop.sample_tokens` over `decoding.decode_step`) with random
weights, and with zeros as conditions, as in the reference bench.

Dimensions: B batch, T seq_len.
"""

import dataclasses
import itertools
import math
import time
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.benches import shapes
from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.inference.token_loop import NO_FILTER, TrackNoise, sample_tokens
from jukejax.models import decoding
from jukejax.models.autoregressive import (
    OUTPUT_PANELS,
    Autoregressive,
    AutoregressiveConfig,
    Conditions,
)
from jukejax.models.decoding import DecodeWeights
from jukejax.models.transformer import empty_caches
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.runtime import precision
from jukejax.training.tasks.prior_sizes import complete_prior_config

# OpenAI's 1b_lyrics: 384 letters before 6144 codes, in 64 rows (design: its table of models).
PRIOR_1B = dict(
    emb_dim=2048, num_layers=72, seq_len=6528, num_heads=2, num_blocks=64, attn_order=12,
    lyric_len=384,
)  # fmt: skip
MODELS = shapes.TRANSFORMERS | {"prior_1b": PRIOR_1B}


Array = jax.Array | jax.ShapeDtypeStruct


class Arguments(NamedTuple):
    """The arguments of the program, or their shapes; caches and codes are donated."""

    weights: DecodeWeights
    caches: Tree
    codes: Array
    start: Array
    stop: Array
    keys: Array


@dataclasses.dataclass(frozen=True)
class DecodeLoop:
    """Compiles and runs the token loop of a model for one batch size.

    Attributes:
      config: of the model.
      batch: number of sequences.
      dtype: compute type.
      weights: "float" or "int8".
      platform: of the target device; None: that of this process.
    """

    config: AutoregressiveConfig
    batch: int
    dtype: jnp.dtype
    weights: str = "float"
    platform: str | None = None

    @property
    def stack(self) -> TransformerConfig:
        return self.config.transformer

    def argument_shapes(self) -> Arguments:
        """Returns the shapes of the program's arguments."""
        stack, number = self.stack, jax.ShapeDtypeStruct((), jnp.int32)

        def init_weights(key: jax.Array) -> DecodeWeights:
            conditions = Conditions(None, jnp.zeros((1, stack.emb_dim)))
            codes = jnp.zeros((1, stack.seq_len), jnp.int32)
            model = Autoregressive(self.config)
            params = nn.meta.unbox(model.init(key, codes, conditions))["params"]
            return decoding.prepare_decode_weights(
                self.config, params, self.dtype, self.weights, self.platform
            )

        return Arguments(
            weights=jax.eval_shape(init_weights, jax.random.key(0)),
            caches=jax.eval_shape(lambda: empty_caches(stack, self.batch, self.dtype)),
            codes=jax.ShapeDtypeStruct((self.batch, stack.seq_len), jnp.int32),
            start=number,
            stop=number,
            keys=jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.batch)),
        )

    def run(
        self,
        weights: DecodeWeights,
        caches: Tree,
        codes: jax.Array,
        start: jax.Array,
        stop: jax.Array,
        keys: jax.Array,
    ) -> tuple[Tree, jax.Array]:
        """Samples codes `start` to `stop` - 1; returns (caches, codes)."""
        width = self.stack.emb_dim
        conditions = Conditions(
            jnp.zeros((self.batch, 1, width), self.dtype),
            jnp.zeros((self.batch, width), self.dtype),
        )

        def step(caches: Tree, previous: jax.Array, position: jax.Array) -> tuple[jax.Array, Tree]:
            return decoding.decode_step(
                self.config, weights, caches, previous, conditions, position
            )

        state = sample_tokens(
            step,
            caches,
            codes,
            start=start,
            stop=stop,
            noise=TrackNoise(keys, jnp.int32(0)),
            temperature=jnp.float32(1.0),
            logits_filter=NO_FILTER,
            lookback=self.config.lookback,
        )
        return state.cache, state.codes

    def compile(self, device: jax.Device | None = None) -> tuple[jax.stages.Compiled, float]:
        """Compiles for `device`, which may be on another machine (None: the default device).

        Returns:
          The program and the seconds of compiling.
        """
        started_at = time.perf_counter()
        shapes = self.argument_shapes()
        program = jax.jit(self.run, donate_argnums=(1, 2))
        if device is None:
            compiled = program.lower(*shapes).compile()
        else:
            placed = jax.sharding.SingleDeviceSharding(device)
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed), shapes
            )
            with disable_cpu_kernels():
                compiled = program.lower(*shapes).compile()
        return compiled, time.perf_counter() - started_at

    def cache_bytes(self) -> int:
        """Returns the bytes of one sequence's cache: keys and values of all layers."""
        return sum(self._layer_bytes(kind) for kind in self.stack.pattern)

    def dense_cache_bytes(self) -> int:
        """Returns the bytes of a cache of the whole window for every layer."""
        return self.stack.num_layers * self._layer_bytes(AttentionKind.DENSE)

    def _layer_bytes(self, kind: AttentionKind) -> int:
        stack = self.stack
        shape = caches.cache_shape(
            kind, stack.grid, 1, stack.num_heads, stack.head_dim, stack.encoder_len
        )
        return 2 * math.prod(shape) * jnp.dtype(self.dtype).itemsize

    def bytes_per_step(self) -> int:
        """Returns the bytes that a step must read, on average over the window.

        Each matrix once, the visible keys and values of each sequence, one row of the tables.
        """
        weights = self.argument_shapes().weights
        outer = dict(weights.outer)
        outer.pop("position_embedding")
        if self.config.merged_decoder or OUTPUT_PANELS in outer:
            outer.pop("code_embedding")
        read = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((outer, weights.layers))
        )
        position = 2 * self.stack.attn_dim * jnp.dtype(self.dtype).itemsize
        visible = sum(count_visible(kind, self.stack) for kind in self.stack.pattern)
        return int(read + self.batch * position * visible)


def count_visible(kind: AttentionKind, stack: TransformerConfig) -> float:
    """Counts the keys visible to a position in a layer, on average over the window."""
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


def make_loop(
    name: str, *, batch: int, dtype: str, weights: str, platform: str | None = None
) -> DecodeLoop:
    """Makes the loop of one of MODELS, or of the prior of a config file.

    Raises:
      ValueError: the name is neither, or the config is not that of a prior.
    """
    if name in MODELS:
        stack = freeze(TransformerConfig, MODELS[name], f"--config={name}")
        model = AutoregressiveConfig(shapes.CODES, stack, labeled=True)
    else:
        config = shapes.load_config(name)
        if "transformer" not in config.model:
            raise ValueError(f"--config={name} trains no prior, so there is nothing to decode")
        model = complete_prior_config(config, None).autoregressive
        if model.transformer.encoder_len:
            raise ValueError(
                f"--config={name} reads lyrics with an encoder of its own, which is not timed "
                "here; take one without, or with lyrics among the codes"
            )
    return DecodeLoop(model, batch, precision.compute_dtype(dtype), weights, platform)


def make_random_arguments(loop: DecodeLoop, seed: int = 0) -> Arguments:
    """Returns weights of standard deviation 0.02 (in eight bits uniform) and empty caches."""
    shapes = loop.argument_shapes()

    def fill(leaf: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
        if leaf.dtype == jnp.int8:
            return jax.random.randint(key, leaf.shape, -127, 128, jnp.int8)
        return (0.02 * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)

    leaves, tree = jax.tree.flatten(shapes.weights)
    fill_jitted = jax.jit(fill, static_argnums=0)
    arrays = [fill_jitted(leaf, jax.random.key(seed + i)) for i, leaf in enumerate(leaves)]
    return Arguments(
        weights=jax.tree.unflatten(tree, arrays),
        caches=empty_caches(loop.stack, loop.batch, loop.dtype),
        codes=jnp.zeros(shapes.codes.shape, jnp.int32),
        start=jnp.int32(0),
        stop=jnp.int32(0),
        keys=jax.random.split(jax.random.key(seed), loop.batch),
    )


def time_eighths(
    loop: DecodeLoop, compiled: jax.stages.Compiled, tokens: int
) -> tuple[list[int], list[float]]:
    """Runs positions 0 to `tokens` in eight parts, after a first run of 8 positions.

    Returns:
      The positions of each part, and its seconds.
    """
    arguments = make_random_arguments(loop)
    state = [arguments.caches, arguments.codes]

    def time_span(start: int, stop: int) -> float:
        started_at = time.perf_counter()
        state[:] = compiled(
            arguments.weights, *state, np.int32(start), np.int32(stop), arguments.keys
        )
        jax.block_until_ready(state)
        return time.perf_counter() - started_at

    time_span(0, 8)
    spans = list(itertools.pairwise(np.linspace(0, tokens, 9).astype(int).tolist()))
    times = [time_span(*span) for span in spans]
    return [stop - start for start, stop in spans], times
