"""The Sparse Transformer of Jukebox's priors (paper section 4.1), for training and for decoding.

Parameters of layers with the same shapes are stacked along a leading `layers` axis, whatever the
pattern: `self_layers` for the kinds that attend to their own sequence, `cross_layers` for kind 6.
Training scans over the pattern's period if the stack is deep; decoding takes the stack apart once
and runs unrolled.

Dimensions: B batch, T time, E emb_dim, H heads, D head_dim, R rows, L block_len, S encoder length.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.models.block import Block, TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import Cache
from jukejax.ops.cpu import products
from jukejax.ops.logical_axes import constrain

UNROLLED = 12  # layers; deeper stacks are scanned, which compiles faster but copies activations


def _stack_of(kind: AttentionKind) -> str:
    return "cross_layers" if kind == AttentionKind.ENCODER_DECODER else "self_layers"


def _segments(pattern: tuple[AttentionKind, ...]) -> list[tuple[tuple[AttentionKind, ...], int]]:
    """Splits a pattern into (cycle, repeats), greedily taking the longest repetition each time."""
    segments = []
    start = 0
    while start < len(pattern):
        best = (pattern[start : start + 1], 1)
        for period in range(1, 17):
            cycle = pattern[start : start + period]
            repeats = 1
            while pattern[start + repeats * period : start + (repeats + 1) * period] == cycle:
                repeats += 1
            if repeats > 1 and repeats * period > len(best[0]) * best[1]:
                best = (cycle, repeats)
        segments.append(best)
        start += len(best[0]) * best[1]
    return segments


class Transformer(nn.Module):
    """The stack of blocks. [B, T, E] -> [B, T, E]; no final layer norm."""

    config: TransformerConfig

    def setup(self):
        config = self.config
        stacks = {}
        for name in ("self_layers", "cross_layers"):
            kinds = [kind for kind in config.pattern if _stack_of(kind) == name]
            if kinds:
                init = functools.partial(_init_stack, config, kinds[0], len(kinds))
                stacks[name] = self.param(name, init)
        self.stacks = stacks

    def __call__(
        self,
        x: jax.Array,
        encoder_states: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Runs every layer, scanning over the pattern's period."""
        key = None if deterministic else self.make_rng("dropout")
        return run_layers(self.config, self.stacks, x, encoder_states, dropout_key=key)


def _init_stack(config: TransformerConfig, kind: AttentionKind, count: int, key: jax.Array) -> Tree:
    """Parameters of `count` layers of one shape, stacked on a leading `layers` axis."""
    grid = config.grid
    x = jax.ShapeDtypeStruct((1, grid.num_rows * grid.block_len, config.emb_dim), jnp.float32)
    states = None
    if kind == AttentionKind.ENCODER_DECODER:
        states = jax.ShapeDtypeStruct((1, config.encoder_len, config.emb_dim), jnp.float32)

    def init(key: jax.Array) -> Tree:
        zeros = [None if s is None else jnp.zeros(s.shape, s.dtype) for s in (x, states)]
        return Block(config, kind, parent=None).init(key, *zeros)["params"]

    stacked = jax.vmap(init)(jax.random.split(key, count))
    return nn.meta.add_axis(stacked, 0, {nn.meta.PARTITION_NAME: "layers"})


def _take(stacks: Tree, start: dict[str, int], cycle: tuple, repeats: int) -> Tree:
    """The next `repeats` cycles of each stack, leaves [repeats, layers of the cycle, ...]."""
    taken = {}
    for name, stack in stacks.items():
        count = sum(_stack_of(kind) == name for kind in cycle)
        part = slice(start[name], start[name] + count * repeats)
        start[name] = part.stop
        if count:
            shape = (repeats, count)
            taken[name] = jax.tree.map(
                lambda leaf, part=part, shape=shape: leaf[part].reshape(*shape, *leaf.shape[1:]),
                stack,
            )
    return taken


def run_layers(
    config: TransformerConfig,
    stacks: Tree,
    x: jax.Array,
    encoder_states: jax.Array | None,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """All layers over [B, T, E]: one `lax.scan` for each repeated cycle of the pattern.

    Dropout is active when `dropout_key` is given.
    """

    def apply(kind, params, x, key):
        rngs = None if key is None else {"dropout": key}
        block = Block(config, kind, parent=None)
        return block.apply({"params": params}, x, encoder_states, key is None, rngs=rngs)

    if config.remat in ("block", "dots"):
        policy = None
        if config.remat == "dots":
            policy = jax.checkpoint_policies.save_from_both_policies(
                jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
                jax.checkpoint_policies.save_only_these_names(products.RESULT),
            )
        apply = jax.checkpoint(apply, static_argnums=(0,), policy=policy)

    def run_cycle(cycle, x, params, key):
        params = unstack_layers(cycle, params)
        for layer, kind in enumerate(cycle):
            own_key = None if key is None else jax.random.fold_in(key, layer)
            x = constrain(apply(kind, params[layer], x, own_key), "batch", "time", "act_embed")
        return x

    if config.remat == "full":
        run_cycle = jax.checkpoint(run_cycle, static_argnums=(0,))

    start = dict.fromkeys(stacks, 0)
    for index, (cycle, repeats) in enumerate(_segments(config.pattern)):
        params = _take(stacks, start, cycle, repeats)
        keys = None
        if dropout_key is not None:
            keys = jax.random.split(jax.random.fold_in(dropout_key, index), repeats)
        if repeats == 1:
            x = run_cycle(cycle, x, *jax.tree.map(lambda leaf: leaf[0], (params, keys)))
        else:
            x, _ = jax.lax.scan(
                lambda x, inputs, cycle=cycle: (run_cycle(cycle, x, *inputs), None),
                x,
                (params, keys),
                unroll=repeats if config.num_layers <= UNROLLED else 1,
            )
    return x


def unstack_layers(pattern: tuple[AttentionKind, ...], stacks: Tree) -> tuple[Tree, ...]:
    """One parameter tree a layer, in order; the decode path runs on these."""
    used = dict.fromkeys(stacks, 0)
    layers = []
    for kind in pattern:
        name = _stack_of(kind)
        layers.append(jax.tree.map(lambda leaf, i=used[name]: leaf[i], stacks[name]))
        used[name] += 1
    return tuple(layers)


def empty_caches(config: TransformerConfig, batch: int, dtype: jnp.dtype) -> tuple[Cache, ...]:
    """Zeroed caches of all layers; kind 6 must be filled by `prefill`."""
    return tuple(
        Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
        for shape in (
            caches.cache_shape(
                kind, config.grid, batch, config.num_heads, config.head_dim, config.encoder_len
            )
            for kind in config.pattern
        )
    )


def prefill_layers(
    config: TransformerConfig,
    layers: tuple[Tree, ...],
    x: jax.Array,
    encoder_states: jax.Array | None,
    length: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """A whole window [B, seq_len, E] at once, and the caches after its first `length` positions."""
    kept = []
    for kind, params in zip(config.pattern, layers, strict=True):
        block = Block(config, kind, parent=None)
        x, cache = block.apply({"params": params}, x, encoder_states, length, method=Block.prefill)
        kept.append(cache)
    return x, tuple(kept)


def step_layers(
    config: TransformerConfig,
    layers: tuple[Tree, ...],
    caches_: tuple[Cache, ...],
    x: jax.Array,
    position: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """One position [B, E] through every layer."""
    kept = []
    for kind, params, cache in zip(config.pattern, layers, caches_, strict=True):
        block = Block(config, kind, parent=None)
        x, cache = block.apply({"params": params}, x, cache, position, method=Block.step)
        kept.append(cache)
    return x, tuple(kept)
