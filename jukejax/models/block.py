"""One block of the Sparse Transformer: attention and MLP (paper section 4.1).

Letters: B batch, T time, E emb_dim, H heads, D head_dim, R rows, L block_len, S encoder length.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.projection import LayerNorm, Projection
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops import cache as caches
from jukejax.ops.attention import backends
from jukejax.ops.attention.kinds import AttentionKind, attend
from jukejax.ops.cache import Cache
from jukejax.ops.logical_axes import constrain


class Attention(nn.Module):
    """Computes multi-head attention of one kind, for whole windows and for single steps."""

    config: TransformerConfig
    kind: AttentionKind

    def setup(self) -> None:
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

    def _split_heads(self, x: jax.Array, parts: int) -> list[jax.Array]:
        heads = (self.config.num_heads, self.config.head_dim)
        arrays = jnp.split(x, parts, axis=-1)
        return [self._constrain(array.reshape(*array.shape[:-1], *heads)) for array in arrays]

    def _constrain(self, x: jax.Array) -> jax.Array:
        """Shards [B, T, H, D] by heads."""
        return constrain(x, "batch", "time", "act_heads", None)

    def encode(self, encoder_states: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes keys and values of the lyric encoder's states [B, S, E], each [B, S, H, D]."""
        key, value = self._split_heads(self.key_value(encoder_states), 2)
        return key, value

    def __call__(
        self,
        x: jax.Array,
        encoder_states: jax.Array | None = None,
        deterministic: bool = True,
        probabilities: bool = False,
        residual: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None, tuple[jax.Array, jax.Array]]:
        """Maps [B, T, E] to (output [B, T, E], probabilities or None, (keys, values)).

        The output is added to `residual` [B, T, E] if it is not None.
        """
        packed = None
        if self.kind == AttentionKind.ENCODER_DECODER:
            assert encoder_states is not None
            (query,) = self._split_heads(self.query(x), 1)
            key, value = self.encode(encoder_states)
        else:
            projected = self.query_key_value(x)
            query, key, value = self._split_heads(projected, 3)
            packed = projected.reshape(*query.shape[:2], 3, *query.shape[2:])
        grid = self.config.grid
        drops = self.config.attn_dropout and not deterministic
        if probabilities or drops or not self.config.causal:
            out, probs = attend(
                self.kind,
                query,
                key,
                value,
                grid,
                causal=self.config.causal,
                dropout=functools.partial(self.dropout, deterministic=deterministic),
            )
        else:
            backend = self.config.attention
            out = backends.attend(backend, self.kind, query, key, value, grid, packed=packed)
            probs = None
        return self.out(out.reshape(*out.shape[:2], -1), residual), probs, (key, value)

    def step(
        self, x: jax.Array, cache: Cache, position: jax.Array, residual: jax.Array | None = None
    ) -> tuple[jax.Array, Cache]:
        """Maps [B, E] at `position` to (output [B, E], cache); `residual` as in `__call__`."""
        cross = self.kind == AttentionKind.ENCODER_DECODER
        qkv = self.query(x) if cross else self.query_key_value(x)
        qkv = qkv.reshape(len(x), -1, self.config.num_heads, self.config.head_dim)
        qkv = constrain(qkv, "batch", None, "act_heads", None)
        out, cache = caches.step_attention(self.kind, self.config.grid, cache, qkv, position)
        return self.out(out.reshape(out.shape[0], -1), residual), cache


class Block(nn.Module):
    """Computes a residual attention block: x + a + m, a = attn(ln(x)), m = mlp(ln(x + a))."""

    config: TransformerConfig
    kind: AttentionKind

    def setup(self) -> None:
        config = self.config
        std = 0.02 * config.init_scale
        zero = config.zero_out or self.kind == AttentionKind.ENCODER_DECODER
        self.attn_norm = LayerNorm()
        self.attn = Attention(config, self.kind)
        self.mlp_norm = LayerNorm()
        self.mlp_in = Projection(config.mlp_dim, std, ("embed", "mlp"), gelu=True)
        self.mlp_out = Projection(config.emb_dim, 0.0 if zero else std, ("mlp", "embed"))
        self.dropout = nn.Dropout(config.resid_dropout)

    def _adds_plain_branches(self, deterministic: bool) -> bool:
        """Returns true if branches have neither dropout nor scaling.

        The output projections then add the residual stream, in one fused operation.
        """
        return not self.config.res_scale and (deterministic or not self.config.resid_dropout)

    def _mlp(self, x: jax.Array, residual: jax.Array | None) -> jax.Array:
        hidden = self.mlp_in(self.mlp_norm(x))
        time = ("time",) * (hidden.ndim - 2)
        hidden = constrain(hidden, "batch", *time, "act_mlp")
        return self.mlp_out(hidden, residual)

    def _add_scaled_branches(
        self, x: jax.Array, attended: jax.Array, deterministic: bool
    ) -> jax.Array:
        """Computes x + scale * (dropout(a) + dropout(m)) from a, the output of attention."""
        attended = self.dropout(attended, deterministic=deterministic)
        mixed = self.dropout(self._mlp(x + attended, None), deterministic=deterministic)
        scale = 1.0 / self.config.num_layers if self.config.res_scale else 1.0
        return x + scale * (attended + mixed)

    def __call__(
        self, x: jax.Array, encoder_states: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """Applies the block to whole windows. [B, T, E] -> [B, T, E]."""
        normed = self.attn_norm(x)
        if not self._adds_plain_branches(deterministic):
            attended, _, _ = self.attn(normed, encoder_states, deterministic)
            return self._add_scaled_branches(x, attended, deterministic)
        x, _, _ = self.attn(normed, encoder_states, deterministic, residual=x)
        return self._mlp(x, x)

    def prefill(
        self, x: jax.Array, encoder_states: jax.Array | None, length: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Computes `__call__`, and the cache after the first `length` positions."""
        residual = x if self._adds_plain_branches(True) else None
        attended, _, (key, value) = self.attn(self.attn_norm(x), encoder_states, residual=residual)
        cache = caches.fill_cache(self.kind, self.config.grid, key, value, length)
        if residual is None:
            return self._add_scaled_branches(x, attended, True), cache
        return self._mlp(attended, attended), cache

    def step(self, x: jax.Array, cache: Cache, position: jax.Array) -> tuple[jax.Array, Cache]:
        """Applies the block to [B, E] at `position`, and updates the cache. -> ([B, E], cache)."""
        residual = x if self._adds_plain_branches(True) else None
        attended, cache = self.attn.step(self.attn_norm(x), cache, position, residual)
        if residual is None:
            return self._add_scaled_branches(x, attended, True), cache
        return self._mlp(attended, attended), cache
