"""Activations of a prior's layers for tracks, pooled by window or for every code.

Castellon, Donahue and Liang, "Codified audio language modeling learns useful representations for
music information retrieval" (ISMIR 2021): Jukebox's middle layers, averaged over time, are better
features than those of models made for tagging, key and emotion.

Layers are numbered as in that paper: layer 0 is the stack's input, layer k the output of block k,
where the first block is 1. Every kind of attention is causal: position t depends on the codes
before t (and on the labels and upper codes of the whole window), so that a mean over a window's
first codes does not depend on later ones.

Letters: B batch, T seq_len, t codes of a track, L layers, E emb_dim.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.conditioning import (
    PriorInputs,
    PriorWeights,
    TrackCodes,
    compute_conditions,
    cut_windows,
)
from jukejax.inference.weight_sharding import find_mesh, use_mesh
from jukejax.inference.windows import plan_windows
from jukejax.models.autoregressive import Autoregressive
from jukejax.models.block import Block
from jukejax.models.prior import build_sequence
from jukejax.models.prior_config import PriorConfig

POOLINGS = ("mean", "max", "last", "none")


@dataclass(frozen=True)
class Activations:
    """Activations of one track.

    Attributes:
      values: float32; pooled [windows, L, E], else [t, L, E].
      begins, ends: range of codes over which each row is pooled; without pooling, that of its code.
    """

    values: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def check_layers(config: PriorConfig, layers: Sequence[int]) -> None:
    """Raises ValueError for a layer that the prior does not have."""
    depth = config.transformer.num_layers
    for layer in layers:
        if not 0 <= layer <= depth:
            raise ValueError(
                f"layer {layer} does not exist: the prior of level {config.level} has 0 (the input "
                f"of its stack) to {depth}"
            )


@functools.partial(jax.jit, static_argnames=("config", "layers", "pooling"))
def compute_window_activations(
    config: PriorConfig,
    weights: PriorWeights,
    inputs: PriorInputs,
    begin: jax.Array,
    end: jax.Array,
    *,
    layers: tuple[int, ...],
    pooling: str,
) -> jax.Array:
    """Computes the activations of a batch of windows.

    Args:
      begin, end: int32 [B], the positions of each window that are pooled.

    Returns:
      float32 [B, L, E], or [B, T, L, E] with pooling "none".
    """
    conditions = compute_conditions(config, weights, inputs.upper_codes, inputs.labels)
    tokens, prefix = build_sequence(config, inputs.codes, inputs.labels), config.lyric_prefix
    model: Any = Autoregressive(config.autoregressive, weights.decode.dtype)
    x = model.apply({"params": weights.decode.outer}, tokens, conditions, True, method=model.embed)
    stack, pooled = config.autoregressive.transformer, {}
    positions = jnp.arange(config.seq_len)
    inside = (positions >= begin[:, None]) & (positions < end[:, None])  # [B, T]
    for layer in range(max(layers) + 1):
        if layer:
            block: Any = Block(stack, stack.pattern[layer - 1], parent=None)
            params = {"params": weights.decode.layers[layer - 1]}
            x = block.apply(params, x, conditions.encoder_states)
        if layer in layers:
            pooled[layer] = _pool(x[:, prefix:].astype(jnp.float32), inside, pooling)
    return jnp.stack([pooled[layer] for layer in layers], axis=-2)


def _pool(x: jax.Array, inside: jax.Array, pooling: str) -> jax.Array:
    """Pools [B, T, E] to [B, E] over the positions `inside` [B, T]; "none" returns it unchanged."""
    if pooling == "none":
        return x
    if pooling == "last":
        last = x.shape[1] - 1 - jnp.argmax(inside[:, ::-1], axis=1)
        return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    if pooling == "max":
        return jnp.where(inside[..., None], x, -jnp.inf).max(axis=1)
    return jnp.where(inside[..., None], x, 0.0).sum(axis=1) / inside.sum(axis=1)[:, None]


def compute_track_activations(
    config: PriorConfig,
    weights: PriorWeights,
    track: TrackCodes,
    *,
    layers: Sequence[int],
    pooling: str,
    window_hop: int,
    batch_size: int = 1,
) -> Activations:
    """Computes the activations of a track's codes, window by window.

    Windows begin `window_hop` codes apart, except that the last one ends with the track; a row is
    pooled over the codes of its window that are not in the previous one. The window of a short
    track is padded with codes that do not affect the activations.

    Args:
      layers, pooling: as above; see `POOLINGS`.
      window_hop: 1 to seq_len, on the grid of the level above.
      batch_size: windows at once.
    """
    length = len(track.codes)
    if not length:
        raise ValueError("a track without codes has no activations")
    check_layers(config, layers)
    plan = plan_windows(length, config.seq_len, window_hop)
    rows: list[np.ndarray] = []
    for first in range(0, len(plan), batch_size):
        batch = plan[first : first + batch_size]
        padded = [
            *batch,
            *[batch[-1]] * (batch_size - len(batch)),
        ]  # one shape
        with use_mesh(find_mesh(weights)):
            values = compute_window_activations(
                config,
                weights,
                cut_windows(config, track, [window.start for window in padded]),
                jnp.asarray([window.fixed for window in padded], jnp.int32),
                jnp.asarray([window.stop for window in padded], jnp.int32),
                layers=tuple(layers),
                pooling=pooling,
            )
        values = np.asarray(values)[: len(batch)]
        if pooling == "none":
            rows += [x[w.fixed : w.stop] for x, w in zip(values, batch, strict=True)]
        else:
            rows.append(values)
    if pooling == "none":
        begins = np.arange(length)
        return Activations(np.concatenate(rows), begins, begins + 1)
    return Activations(
        np.concatenate(rows),
        np.array([window.start + window.fixed for window in plan]),
        np.array([window.start + window.stop for window in plan]),
    )
