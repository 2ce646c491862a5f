"""One block of the Sparse Transformer: its configuration, attention and MLP (paper section 4.1).

Dimensions: B batch, T time, E emb_dim, H heads, D head_dim, R rows, L block_len, S encoder length.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.ops import cache as caches
from jukejax.ops import decode_weights as rows
from jukejax.ops.attention import backends as attention_backends
from jukejax.ops.attention.kinds import AttentionKind, attend, attention_pattern, prime_length
from jukejax.ops.cache import Cache, Grid
from jukejax.ops.cpu import attention as attention_native
from jukejax.ops.cpu import products
from jukejax.ops.cpu.products import quick_gelu
from jukejax.ops.logical_axes import constrain
from jukejax.ops.norm import layer_norm, layer_norm_of_few

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
      attention: how layers attend in training and prefill, one of attention_backends.BACKENDS.
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
    attention: str = "auto"
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
        if self.attention not in attention_backends.BACKENDS:
            known = ", ".join(attention_backends.BACKENDS)
            raise ValueError(f"attention is {self.attention!r}; known: {known}")
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
        norm = layer_norm if x.ndim > 2 else layer_norm_of_few
        return norm(x, scale, bias)


class Projection(nn.Module):
    """x @ kernel + bias, both cast to x's dtype; then `quick_gelu` if `gelu`.

    For decoding the kernel [in, out] may stand as `rows` (ops/decode_weights.py), and either in
    eight bits with `scale` [out] beside it (see `autoregressive.decode_weights`).
    """

    features: int
    std: float
    axes: tuple[str, str]
    gelu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, residual: jax.Array | None = None) -> jax.Array:
        """[..., in] -> [..., features], added to `residual` [..., features] if there is one."""
        # NOTE: one axis of positions: with two, XLA's CPU compiler writes transposed copies of both
        # operands of the weights' gradient.
        flat, shape = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], self.features)
        kernel_init = nn.with_logical_partitioning(nn.initializers.normal(self.std), self.axes)
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[1:])
        plain = not any(self.has_variable("params", name) for name in ("rows", "scale"))
        if plain:
            kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
            kernel = kernel.astype(x.dtype)
        bias = self.param("bias", bias_init, (self.features,)).astype(x.dtype)
        if plain and products.suits(flat, self.features):
            added = None if residual is None else residual.reshape(-1, self.features)
            return products.dense(flat, kernel, bias, added, self.gelu).reshape(shape)
        out = jnp.dot(flat, kernel) if plain else self._by_decode_weights(flat)
        out = (out + bias).reshape(shape)
        if self.gelu:
            out = quick_gelu(out)
        return out if residual is None else residual + out

    def _by_decode_weights(self, x: jax.Array) -> jax.Array:
        """[N, in] to [N, features]. Products of eight bits are summed and scaled in float32."""
        scaled = self.has_variable("params", "scale")
        summed_in = jnp.float32 if scaled else None
        if self.has_variable("params", "rows"):
            matrix = self.get_variable("params", "rows").astype(x.dtype)
            out = rows.product(x, matrix, summed_in)
        else:
            matrix = self.get_variable("params", "kernel").astype(x.dtype)
            out = jnp.dot(x, matrix, preferred_element_type=summed_in)
        return (out * self.get_variable("params", "scale")).astype(x.dtype) if scaled else out


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
        self,
        x: jax.Array,
        encoder_states: jax.Array | None = None,
        deterministic: bool = True,
        probabilities: bool = False,
        residual: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None, tuple[jax.Array, jax.Array]]:
        """[B, T, E] to (output [B, T, E], probabilities if asked for, (keys, values)).

        The output is added to `residual` [B, T, E] if there is one.
        """
        projected = None
        if self.kind == AttentionKind.ENCODER_DECODER:
            (query,) = self._heads(self.query(x), 1)
            key, value = self.encode(encoder_states)
        else:
            projected = self.query_key_value(x)
            query, key, value = self._heads(projected, 3)
        grid = self.config.grid
        if probabilities or (self.config.attn_dropout and not deterministic):
            shape = dict(block_len=grid.block_len, spread=grid.spread, prime_len=grid.prime_len)
            dropout = functools.partial(self.dropout, deterministic=deterministic)
            out, probs = attend(self.kind, query, key, value, **shape, dropout=dropout)
        else:
            out = self._attend(query, key, value, projected)
            probs = None
        return self.out(out.reshape(*out.shape[:2], -1), residual), probs, (key, value)

    def _attend(
        self, query: jax.Array, key: jax.Array, value: jax.Array, projected: jax.Array | None
    ) -> jax.Array:
        """[B, T, H, D] each to [B, T, H, D]; `projected` [B, T, 3 H D]: all three side by side."""
        grid = self.config.grid
        block_len = grid.block_len
        backend = attention_backends.chosen(
            self.config.attention, self.kind, query, block_len=block_len
        )
        if backend == "native":
            packed = projected.reshape(*query.shape[:2], 3, *query.shape[2:])
            return attention_native.attend_packed(self.kind, packed, block_len)
        shape = dict(block_len=block_len, spread=grid.spread, prime_len=grid.prime_len)
        return attention_backends.attend(backend, self.kind, query, key, value, **shape)

    def step(
        self, x: jax.Array, cache: Cache, position: jax.Array, residual: jax.Array | None = None
    ) -> tuple[jax.Array, Cache]:
        """[B, E] at `position` to (output [B, E], cache); `residual` [B, E] as in `__call__`."""
        key = value = None
        if self.kind == AttentionKind.ENCODER_DECODER:
            (query,) = self._heads(self.query(x), 1)
        else:
            query, key, value = self._heads(self.query_key_value(x), 3)
        grid = self.config.grid
        out, cache = caches.step(self.kind, grid, cache, query, key, value, position)
        return self.out(out.reshape(out.shape[0], -1), residual), cache


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
        self.mlp_in = Projection(config.mlp_dim, std, ("embed", "mlp"), gelu=True)
        self.mlp_out = Projection(config.emb_dim, 0.0 if zero else std, ("mlp", "embed"))
        self.dropout = nn.Dropout(config.resid_dropout)

    def _plain(self, deterministic: bool) -> bool:
        """Whether branches are added as they are, which projections do themselves."""
        return not self.config.res_scale and (deterministic or not self.config.resid_dropout)

    def _mlp(self, x: jax.Array, residual: jax.Array | None) -> jax.Array:
        hidden = self.mlp_in(self.mlp_norm(x))
        if hidden.ndim == 3:
            hidden = constrain(hidden, "batch", "time", "act_mlp")
        return self.mlp_out(hidden, residual)

    def _rest(self, x: jax.Array, attended: jax.Array, deterministic: bool) -> jax.Array:
        """What follows attention; `attended` has x in it already if branches are plain."""
        if self._plain(deterministic):
            return self._mlp(attended, attended)
        attended = self.dropout(attended, deterministic=deterministic)
        mixed = self.dropout(self._mlp(x + attended, None), deterministic=deterministic)
        scale = 1.0 / self.config.num_layers if self.config.res_scale else 1.0
        return x + scale * (attended + mixed)

    def _residual(self, x: jax.Array, deterministic: bool) -> jax.Array | None:
        """What the projection of attention adds its output to."""
        return x if self._plain(deterministic) else None

    def __call__(
        self, x: jax.Array, encoder_states: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """[B, T, E] -> [B, T, E]"""
        residual = self._residual(x, deterministic)
        normed = self.attn_norm(x)
        attended, _, _ = self.attn(normed, encoder_states, deterministic, residual=residual)
        return self._rest(x, attended, deterministic)

    def prefill(
        self, x: jax.Array, encoder_states: jax.Array | None, length: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """As `__call__`, with the cache after the first `length` positions."""
        residual = self._residual(x, True)
        attended, _, (key, value) = self.attn(
            self.attn_norm(x), encoder_states, True, residual=residual
        )
        cache = caches.fill(self.kind, self.config.grid, key, value, length)
        return self._rest(x, attended, True), cache

    def step(self, x: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
        """[B, E] at `position` -> ([B, E], cache)."""
        residual = self._residual(x, True)
        attended, cache = self.attn.step(self.attn_norm(x), cache, position, residual)
        return self._rest(x, attended, True), cache
