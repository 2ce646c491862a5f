"""The Sparse Transformer of Jukebox's priors (paper section 4.1), for training and for decoding.

Parameters of layers with the same shapes are stacked along a leading `layers` axis for every
pattern: `self_layers` for the kinds that attend to their own sequence, `cross_layers` for kind 6.
Training scans over the pattern's period if the stack is deep; decoding unstacks the layers once and
is unrolled.

Letters: B batch, T time, E emb_dim, H heads, D head_dim, R rows, L block_len, S encoder length.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.models.block import Block
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import Cache
from jukejax.ops.dense import remat_policy
from jukejax.ops.logical_axes import constrain

UNROLLED = 12  # layers; deeper stacks are scanned, which compiles faster but copies activations


def _stack_of(kind: AttentionKind) -> str:
    return "cross_layers" if kind == AttentionKind.ENCODER_DECODER else "self_layers"


def find_segments(
    pattern: tuple[AttentionKind, ...],
) -> list[tuple[tuple[AttentionKind, ...], int]]:
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
    """Applies the stack of blocks, without a final layer norm. [B, T, E] -> [B, T, E]."""

    config: TransformerConfig

    def setup(self) -> None:
        config = self.config
        stacks = {}
        for name in ("self_layers", "cross_layers"):
            kinds = [kind for kind in config.pattern if _stack_of(kind) == name]
            if not kinds:
                continue
            if self.has_variable("params", name):  # `param` would refuse adapters (`lora`)
                stacks[name] = nn.meta.unbox(self.get_variable("params", name))
            else:
                init = functools.partial(_init_stack, config, kinds[0], len(kinds))
                stacks[name] = self.param(name, init)
        self.stacks = stacks

    def __call__(
        self,
        x: jax.Array,
        encoder_states: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Applies every layer, scanning over the pattern's period."""
        key = None if deterministic else self.make_rng("dropout")
        return run_layers(self.config, self.stacks, x, encoder_states, dropout_key=key)


def _init_stack(config: TransformerConfig, kind: AttentionKind, count: int, key: jax.Array) -> Tree:
    """Initializes `count` layers of one shape, stacked on a leading `layers` axis."""
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


def _select_cycles(stacks: Tree, start: dict[str, int], cycle: tuple, repeats: int) -> Tree:
    """Selects the next `repeats` cycles of each stack, [repeats, layers of the cycle, ...] a leaf.

    Args:
      start: index of the next layer of each stack; advanced in place.
    """
    cycles = {}
    for name, stack in stacks.items():
        count = sum(_stack_of(kind) == name for kind in cycle)
        rows = slice(start[name], start[name] + count * repeats)
        start[name] = rows.stop
        if count:
            shape = (repeats, count)
            cycles[name] = jax.tree.map(
                lambda leaf, rows=rows, shape=shape: leaf[rows].reshape(*shape, *leaf.shape[1:]),
                stack,
            )
    return cycles


def run_layers(
    config: TransformerConfig,
    stacks: Tree,
    x: jax.Array,
    encoder_states: jax.Array | None,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Applies all layers to [B, T, E]: one `lax.scan` for each repeated cycle of the pattern.

    Dropout is active if `dropout_key` is not None.
    """

    run_cycle: Callable = functools.partial(_run_cycle, config)
    if config.remat == "full":
        run_cycle = jax.checkpoint(run_cycle, static_argnums=(0,))
    start = dict.fromkeys(stacks, 0)
    for index, (cycle, repeats) in enumerate(find_segments(config.pattern)):
        params = _select_cycles(stacks, start, cycle, repeats)
        keys = None
        if dropout_key is not None:
            keys = jax.random.split(jax.random.fold_in(dropout_key, index), repeats)
        if repeats == 1:
            first = jax.tree.map(lambda leaf: leaf[0], (params, keys))
            x = run_cycle(cycle, x, encoder_states, *first)
            continue

        def scan_body(
            x: jax.Array, inputs: tuple, cycle: tuple[AttentionKind, ...] = cycle
        ) -> tuple[jax.Array, None]:
            return run_cycle(cycle, x, encoder_states, *inputs), None

        unroll = repeats if config.num_layers <= UNROLLED else 1
        x, _ = jax.lax.scan(scan_body, x, (params, keys), unroll=unroll)
    return x


def _run_cycle(
    config: TransformerConfig,
    cycle: tuple[AttentionKind, ...],
    x: jax.Array,
    encoder_states: jax.Array | None,
    params: Tree,
    key: jax.Array | None,
) -> jax.Array:
    """Applies one cycle of the pattern to [B, T, E], with stacked `params` of its layers."""
    apply: Callable = functools.partial(_apply_block, config)
    if config.remat in ("block", "dots"):
        policy = remat_policy() if config.remat == "dots" else None
        apply = jax.checkpoint(apply, static_argnums=(0,), policy=policy)
    layers = unstack_layers(cycle, params)
    for layer, kind in enumerate(cycle):
        layer_key = None if key is None else jax.random.fold_in(key, layer)
        x = apply(kind, layers[layer], x, encoder_states, layer_key)
        x = constrain(x, "batch", "time", "act_embed")
    return x


def _apply_block(
    config: TransformerConfig,
    kind: AttentionKind,
    params: Tree,
    x: jax.Array,
    encoder_states: jax.Array | None,
    key: jax.Array | None,
) -> jax.Array:
    rngs = None if key is None else {"dropout": key}
    block = Block(config, kind, parent=None)
    return block.apply({"params": params}, x, encoder_states, key is None, rngs=rngs)


def unstack_layers(pattern: tuple[AttentionKind, ...], stacks: Tree) -> tuple[Tree, ...]:
    """Returns one parameter tree a layer, in order, for decoding."""
    offset = dict.fromkeys(stacks, 0)
    layers = []
    for kind in pattern:
        name = _stack_of(kind)
        layers.append(jax.tree.map(lambda leaf, i=offset[name]: leaf[i], stacks[name]))
        offset[name] += 1
    return tuple(layers)


def empty_caches(config: TransformerConfig, batch: int, dtype: jnp.dtype) -> tuple[Cache, ...]:
    """Returns zeroed caches of all layers; those of kind 6 must be filled by `prefill_layers`."""
    return tuple(
        caches.shard_cache(Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)))
        for shape in _cache_shapes(config, batch)
    )


def extend_caches(config: TransformerConfig, filled: tuple[Cache, ...]) -> tuple[Cache, ...]:
    """Extends the caches of the first rows of windows to those of whole windows, with zeros."""

    def extend(array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        widths = [(0, full - size) for size, full in zip(array.shape, shape, strict=True)]
        return jnp.pad(array, widths)

    shapes = _cache_shapes(config, len(filled[0].key))
    return tuple(
        caches.shard_cache(Cache(extend(cache.key, shape), extend(cache.value, shape)))
        for cache, shape in zip(filled, shapes, strict=True)
    )


def _cache_shapes(config: TransformerConfig, batch: int) -> list[tuple[int, ...]]:
    """Returns the shape of the keys (and of the values) that each layer keeps."""
    sizes = (config.num_heads, config.head_dim, config.encoder_len)
    return [caches.cache_shape(kind, config.grid, batch, *sizes) for kind in config.pattern]


def prefill_layers(
    config: TransformerConfig,
    layers: tuple[Tree, ...],
    x: jax.Array,
    encoder_states: jax.Array | None,
    length: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Applies all layers to windows [B, seq_len, E]; fills the caches of `length` positions."""
    filled = []
    for kind, params in zip(config.pattern, layers, strict=True):
        block = Block(config, kind, parent=None)
        x, cache = block.apply({"params": params}, x, encoder_states, length, method=Block.prefill)
        filled.append(caches.shard_cache(cache))
    return x, tuple(filled)


def step_layers(
    config: TransformerConfig,
    layers: tuple[Tree, ...],
    caches_: tuple[Cache, ...],
    x: jax.Array,
    position: jax.Array,
) -> tuple[jax.Array, tuple[Cache, ...]]:
    """Applies every layer to one position [B, E]."""
    filled = []
    for kind, params, cache in zip(config.pattern, layers, caches_, strict=True):
        block = Block(config, kind, parent=None)
        x, cache = block.apply({"params": params}, x, cache, position, method=Block.step)
        filled.append(cache)
    return x, tuple(filled)
