"""The Sparse Transformer of Jukebox's priors (paper section 4.1), for training and for decoding.

Parameters of layers with the same shapes are stacked along a leading `layers` axis, whatever the
pattern: `self_layers` for the kinds that attend to their own sequence, `cross_layers` for kind 6.
Training scans over the pattern's period if the stack is deep; decoding takes the stack apart once
and runs unrolled.

Dimensions: B batch, T time, E emb_dim, H heads, D head_dim, R rows, L block_len, S encoder length.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.ops import cache as caches
from jukejax.ops.attention import AttentionKind, attend, attention_pattern, prime_length
from jukejax.ops.cache import Cache, Grid
from jukejax.ops.placement import constrain

Tree = Any
UNROLLED = 12  # layers; deeper stacks are scanned, which compiles faster but copies activations
REMAT = ("none", "dots", "block", "full")


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A stack of attention blocks over a window of `seq_len` codes in `num_blocks` rows.

    Attributes:
      emb_dim: width of the residual stream.
      num_layers: depth.
      num_heads: attention heads; they share `attn_ratio * emb_dim` features.
      seq_len: positions in a window.
      num_blocks: rows of the attention grid.
      attn_order: OpenAI's number of the attention pattern, 0 to 12.
      attn_ratio: attention state / emb_dim.
      mlp_ratio: MLP state / emb_dim.
      init_scale: multiplies the standard deviations of all initial weights.
      res_scale: scale the residual branch by 1 / num_layers.
      zero_out: start every residual branch at zero.
      spread: positions of a row that kind 5 sees.
      lyric_len: lyric tokens at the start of the sequence, for kind 7; a prior sets it itself.
      encoder_len: states of the lyric encoder, for kind 6; a prior sets it itself.
      attn_dropout, resid_dropout, emb_dropout: of probabilities, of each branch's output, of the
        embeddings.
      remat: what the forward pass keeps for the backward pass: "none" everything, "dots" matrix
        products, "block" the input of each layer, "full" the input of each cycle of the pattern.
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
    attn_dropout: float = 0.0
    resid_dropout: float = 0.0
    emb_dropout: float = 0.0
    remat: str = "none"

    def __post_init__(self):
        for name in ("emb_dim", "num_layers", "num_heads", "seq_len", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.seq_len % self.num_blocks:
            raise ValueError(f"seq_len {self.seq_len} does not divide into {self.num_blocks} rows")
        if self.attn_dim % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the attention state {self.attn_dim} "
                f"(attn_ratio {self.attn_ratio} x emb_dim {self.emb_dim})"
            )
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}; known: {', '.join(REMAT)}")
        if AttentionKind.SUMMARY_SPREAD in self.pattern and self.spread > self.grid.block_len:
            raise ValueError(f"spread {self.spread} exceeds a row of {self.grid.block_len}")

    @property
    def dropout(self) -> bool:
        """Whether training needs randomness."""
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
        return Grid(
            num_rows=self.num_blocks,
            block_len=self.seq_len // self.num_blocks,
            spread=self.spread,
            prime_len=prime_length(self.lyric_len, self.num_blocks) if self.lyric_len else 0,
        )


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), the activation of the released models."""
    return x * jax.nn.sigmoid(1.702 * x)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, in float32, eps 1e-5."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param(
            "scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), shape
        )
        bias = self.param(
            "bias", nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)), shape
        )
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt((wide * wide).mean(axis=-1, keepdims=True) + 1e-5)
        return (wide * scale + bias).astype(x.dtype)


class Projection(nn.Module):
    """x @ kernel + bias, both cast to x's dtype."""

    features: int
    std: float
    axes: tuple[str, str]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel_init = nn.with_logical_partitioning(nn.initializers.normal(self.std), self.axes)
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[1:])
        kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", bias_init, (self.features,))
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class Attention(nn.Module):
    """Multi-head attention of one kind, for whole windows and for single steps."""

    config: TransformerConfig
    kind: AttentionKind

    def setup(self):
        config = self.config
        std = 0.02 * config.init_scale
        cross = self.kind == AttentionKind.ENCODER_DECODER
        out_std = 0.0 if config.zero_out or cross else std
        inner = config.attn_dim
        if cross:
            self.query = Projection(inner, std, ("embed", "heads"))
            self.key_value = Projection(2 * inner, std, ("embed", "heads"))
        else:
            self.query_key_value = Projection(3 * inner, std, ("embed", "heads"))
        self.out = Projection(config.emb_dim, out_std, ("heads", "embed"))
        self.dropout = nn.Dropout(config.attn_dropout)

    def _heads(self, x: jax.Array, parts: int) -> list[jax.Array]:
        x = jnp.split(x, parts, axis=-1)
        heads = (self.config.num_heads, self.config.head_dim)
        return [self._place(part.reshape(*part.shape[:-1], *heads)) for part in x]

    def _place(self, x: jax.Array) -> jax.Array:
        """Whole windows [B, T, H, D] are cut by heads; single steps [B, H, D] are left alone."""
        return constrain(x, "batch", "time", "act_heads", None) if x.ndim == 4 else x

    def encode(self, encoder_states: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values of the lyric encoder's states [B, S, E], each [B, S, H, D]."""
        key, value = self._heads(self.key_value(encoder_states), 2)
        return key, value

    def __call__(
        self, x: jax.Array, encoder_states: jax.Array | None = None, deterministic: bool = True
    ) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
        """[B, T, E] to (output [B, T, E], probabilities, (keys, values))."""
        if self.kind == AttentionKind.ENCODER_DECODER:
            (query,) = self._heads(self.query(x), 1)
            key, value = self.encode(encoder_states)
        else:
            query, key, value = self._heads(self.query_key_value(x), 3)
        grid = self.config.grid
        dropout = functools.partial(self.dropout, deterministic=deterministic)
        out, probs = attend(
            self.kind,
            query,
            key,
            value,
            block_len=grid.block_len,
            spread=grid.spread,
            prime_len=grid.prime_len,
            dropout=dropout,
        )
        return self.out(out.reshape(*out.shape[:2], -1)), probs, (key, value)

    def step(self, x: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
        """[B, E] at `position` to (output [B, E], cache)."""
        key = value = None
        if self.kind == AttentionKind.ENCODER_DECODER:
            (query,) = self._heads(self.query(x), 1)
        else:
            query, key, value = self._heads(self.query_key_value(x), 3)
        grid = self.config.grid
        out, cache = caches.step(self.kind, grid, cache, query, key, value, position)
        return self.out(out.reshape(out.shape[0], -1)), cache


class Block(nn.Module):
    """One residual attention block: x + a + m, a = attn(ln(x)), m = mlp(ln(x + a))."""

    config: TransformerConfig
    kind: AttentionKind

    def setup(self):
        config = self.config
        std = 0.02 * config.init_scale
        zero = config.zero_out or self.kind == AttentionKind.ENCODER_DECODER
        self.attn_norm = LayerNorm()
        self.attn = Attention(config, self.kind)
        self.mlp_norm = LayerNorm()
        self.mlp_in = Projection(config.mlp_dim, std, ("embed", "mlp"))
        self.mlp_out = Projection(config.emb_dim, 0.0 if zero else std, ("mlp", "embed"))
        self.dropout = nn.Dropout(config.resid_dropout)

    def _rest(self, x: jax.Array, attended: jax.Array, deterministic: bool) -> jax.Array:
        attended = self.dropout(attended, deterministic=deterministic)
        hidden = quick_gelu(self.mlp_in(self.mlp_norm(x + attended)))
        if hidden.ndim == 3:
            hidden = constrain(hidden, "batch", "time", "act_mlp")
        mixed = self.dropout(self.mlp_out(hidden), deterministic=deterministic)
        scale = 1.0 / self.config.num_layers if self.config.res_scale else 1.0
        return x + scale * (attended + mixed)

    def __call__(
        self, x: jax.Array, encoder_states: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """[B, T, E] -> [B, T, E]"""
        attended, _, _ = self.attn(self.attn_norm(x), encoder_states, deterministic)
        return self._rest(x, attended, deterministic)

    def prefill(
        self, x: jax.Array, encoder_states: jax.Array | None, length: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """As `__call__`, with the cache after the first `length` positions."""
        attended, _, (key, value) = self.attn(self.attn_norm(x), encoder_states, True)
        cache = caches.fill(self.kind, self.config.grid, key, value, length)
        return self._rest(x, attended, True), cache

    def step(self, x: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
        """[B, E] at `position` -> ([B, E], cache)."""
        attended, cache = self.attn.step(self.attn_norm(x), cache, position)
        return self._rest(x, attended, True), cache


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
        dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        policy = dots if config.remat == "dots" else None
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
        Cache(*(jnp.zeros(shape, dtype),) * 2)
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
