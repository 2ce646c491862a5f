"""What a prior's layers make of music: activations of any layer, by windows, pooled or whole.

Castellon, Donahue and Liang, "Codified audio language modeling learns useful representations for
music information retrieval" (ISMIR 2021): Jukebox's middle layers, averaged over time, beat what
was made for tagging, key and emotion.

Layers are numbered as there: 0 is the stack's input, k the output of block k, counted from 1.
Every kind of attention looks back only: position t has read the codes before t (and the labels and
upper codes of the whole window), so that a mean over a window's first codes needs no later ones.
Letters: B batch, T seq_len, t codes of a track, L layers, E emb_dim.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.generate import Labels, PriorWeights, condition, fit, window_labels
from jukejax.inference.windows import plan_windows
from jukejax.models.autoregressive import Autoregressive
from jukejax.models.block import Block
from jukejax.models.prior import PriorConfig, sequence

POOLINGS = ("mean", "max", "last", "none")


@dataclass(frozen=True)
class Activations:
    """Of one track.

    Attributes:
      values: float32; pooled [windows, L, E], else [t, L, E].
      begins, ends: codes that each row has been pooled over; without pooling, each code itself.
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
                f"layer {layer} does not exist: the prior of level {config.level} has 0 (what its "
                f"stack reads) to {depth}"
            )


@functools.partial(jax.jit, static_argnames=("config", "layers", "pooling"))
def window_activations(
    config: PriorConfig,
    weights: PriorWeights,
    codes: jax.Array,
    upper_codes: jax.Array | None,
    labels: jax.Array | None,
    begin: jax.Array,
    end: jax.Array,
    *,
    layers: tuple[int, ...],
    pooling: str,
) -> jax.Array:
    """Activations of windows [B, T], float32 [B, L, E], or with pooling "none" [B, T, L, E].

    Args:
      upper_codes: int32 [B, T // ratio], for upsamplers.
      labels: int32 [B, label_width], for labelled models.
      begin, end: int32 [B], the positions of each window that are pooled.
    """
    conditions = condition(config, weights, upper_codes, labels)
    tokens, before = sequence(config, codes, labels), config.lyric_prefix
    model = Autoregressive(config.autoregressive, weights.decode.dtype)
    x = model.apply({"params": weights.decode.outer}, tokens, conditions, True, method=model.embed)
    stack, found = config.autoregressive.transformer, {}
    positions = jnp.arange(config.seq_len)
    inside = (positions >= begin[:, None]) & (positions < end[:, None])  # [B, T]

    def keep(layer: int, x: jax.Array) -> None:
        if layer in layers:
            found[layer] = _pool(x[:, before:].astype(jnp.float32), inside, pooling)

    keep(0, x)
    for layer in range(max(layers)):
        block = Block(stack, stack.pattern[layer], parent=None)
        x = block.apply({"params": weights.decode.layers[layer]}, x, conditions.encoder_states)
        keep(layer + 1, x)
    return jnp.stack([found[layer] for layer in layers], axis=-2)


def _pool(x: jax.Array, inside: jax.Array, pooling: str) -> jax.Array:
    """[B, T, E] to [B, E] over the positions `inside` [B, T], or as it is."""
    if pooling == "none":
        return x
    if pooling == "last":
        last = x.shape[1] - 1 - jnp.argmax(inside[:, ::-1], axis=1)
        return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    if pooling == "max":
        return jnp.where(inside[..., None], x, -jnp.inf).max(axis=1)
    return jnp.where(inside[..., None], x, 0.0).sum(axis=1) / inside.sum(axis=1)[:, None]


def track_activations(
    config: PriorConfig,
    weights: PriorWeights,
    codes: np.ndarray,
    *,
    upper: np.ndarray | None,
    labels: Labels | None,
    layers: Sequence[int],
    pooling: str,
    window_hop: int,
    batch_size: int = 1,
) -> Activations:
    """Activations of a track's codes, window by window.

    Windows begin `window_hop` codes apart, the last one so that it ends with the track; a row is
    pooled over what its window adds to the one before it. A short track's window is filled up with
    codes that nothing counted has read.

    Args:
      codes: int32 [t], the whole track.
      upper: int32 [t // ratio], the level above, for upsamplers.
      labels: of the track, for labelled models.
      layers, pooling: as above; see `POOLINGS`.
      window_hop: 1 to seq_len, on the grid of the level above.
      batch_size: windows at once.
    """
    if not len(codes):
        raise ValueError("a track without codes has no activations")
    check_layers(config, layers)
    plan = plan_windows(len(codes), config.seq_len, window_hop)
    rows = list(_in_batches(plan, batch_size))
    parts = []
    for batch in rows:
        padded = [*batch, *[batch[-1]] * (batch_size - len(batch))]  # one program for all batches
        inputs = _inputs(config, codes, upper, labels, [window.start for window in padded])
        begin, end = (
            jnp.asarray([edge(window) for window in padded], jnp.int32)
            for edge in (lambda window: window.fixed, lambda window: window.stop)
        )
        found = window_activations(
            config, weights, *inputs, begin, end, layers=tuple(layers), pooling=pooling
        )
        found = np.asarray(found)[: len(batch)]
        if pooling == "none":
            parts += [x[w.fixed : w.stop] for x, w in zip(found, batch, strict=True)]
        else:
            parts.append(found)
    if pooling == "none":
        begins = np.arange(len(codes))
        return Activations(np.concatenate(parts), begins, begins + 1)
    begins, ends = (
        np.array([window.start + edge(window) for window in plan])
        for edge in (lambda window: window.fixed, lambda window: window.stop)
    )
    return Activations(np.concatenate(parts), begins, ends)


def _in_batches(plan: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(plan), size):
        yield plan[start : start + size]


def _inputs(
    config: PriorConfig,
    codes: np.ndarray,
    upper: np.ndarray | None,
    labels: Labels | None,
    starts: Sequence[int],
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Codes, upper codes and label vectors of windows, as `window_activations` takes them."""

    def cut(of: np.ndarray, places: Sequence[int], length: int) -> jax.Array:
        pieces = [fit(of[None, place:], length) for place in places]
        return jnp.asarray(np.concatenate(pieces), jnp.int32)

    upper_codes = rows = None
    if config.upper is not None:
        ratio = config.upper.ratio
        above = [start // ratio for start in starts]
        upper_codes = cut(upper, above, config.seq_len // ratio)
    if config.labels is not None:
        vectors = [window_labels(config, [labels], start) for start in starts]
        rows = jnp.asarray(np.concatenate(vectors), jnp.int32)
    return cut(codes, starts, config.seq_len), upper_codes, rows
