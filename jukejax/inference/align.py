"""Alignment of lyrics and music by the attention of a model with lyrics to each letter.

Dimensions: B batch, H heads, T seq_len, N lyric tokens of a window, t codes of a track.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.analysis.lyric_times import measure_monotonicity
from jukejax.data.lyrics import PADDING
from jukejax.inference.conditioning import (
    Labels,
    PriorInputs,
    PriorWeights,
    compute_conditions,
    find_lyric_window,
    fit_length,
    make_window_labels,
)
from jukejax.inference.weight_sharding import find_mesh, use_mesh
from jukejax.inference.windows import list_window_starts
from jukejax.models import decoding
from jukejax.models.prior import build_sequence, split_labels
from jukejax.models.prior_config import PriorConfig
from jukejax.ops.attention.kinds import AttentionKind


class LyricHead(NamedTuple):
    """A head that attends to lyrics.

    Attributes:
      monotonicity: how far it attends to letters in their order, see
        `lyric_times.measure_monotonicity`; NaN if it was not measured.
    """

    layer: int
    head: int
    monotonicity: float


def list_lyric_layers(config: PriorConfig) -> list[int]:
    """Lists the layers that attend to lyrics."""
    kinds: tuple[AttentionKind, ...] = (AttentionKind.ENCODER_DECODER,)
    if config.lyric_prefix:
        kinds = (AttentionKind.PRIME, AttentionKind.DENSE)
    pattern = config.autoregressive.transformer.pattern
    return [i for i, kind in enumerate(pattern) if config.num_lyrics and kind in kinds]


def rank_lyric_heads(
    config: PriorConfig, weights: PriorWeights, windows: Iterable[PriorInputs]
) -> list[LyricHead]:
    """Measures every head that attends to lyrics on windows, the most monotonic one first.

    Attention to the padding of the lyrics does not count.

    Raises:
      ValueError: there are no windows with lyrics.
    """
    sums: dict[tuple[int, int], float] = {}
    count = 0
    for inputs in windows:
        _, tokens = split_labels(config, inputs.labels)
        for layer in list_lyric_layers(config):
            attention = _read_attention(config, weights, inputs, layer)
            for row, letters in zip(attention, np.asarray(tokens), strict=True):
                measured = measure_monotonicity(row * (letters != PADDING))
                for head, value in enumerate(measured):
                    sums[layer, head] = sums.get((layer, head), 0.0) + float(value)
        count += len(tokens)
    if not count:
        raise ValueError("no window has lyrics, by which the attention to them could be measured")
    heads = [LyricHead(*place, value / count) for place, value in sums.items()]
    return sorted(heads, key=lambda head: -head.monotonicity)


def _read_attention(
    config: PriorConfig, weights: PriorWeights, inputs: PriorInputs, layer: int
) -> np.ndarray:
    """Computes `compute_lyric_attention` on the devices that have the weights."""
    with use_mesh(find_mesh(weights)):
        return np.asarray(compute_lyric_attention(config, weights, inputs, layer))


@functools.partial(jax.jit, static_argnums=(0, 3))
def compute_lyric_attention(
    config: PriorConfig, weights: PriorWeights, inputs: PriorInputs, layer: int
) -> jax.Array:
    """Computes the attention of one layer from a window's codes to its lyrics.

    Args:
      layer: of kind 6 ("separate") or kind 7 or 0 ("single").

    Returns:
      float32 [B, H, T, N].

    Raises:
      ValueError: the layer does not attend to lyrics.
    """
    model, layers = config.autoregressive, list_lyric_layers(config)
    if layer not in layers:
        raise ValueError(f"layer {layer} does not attend to lyrics; layers that do: {layers}")
    conditions = compute_conditions(config, weights, inputs.upper_codes, inputs.labels)
    tokens = build_sequence(config, inputs.codes, inputs.labels)
    probs = decoding.compute_attention_probabilities(
        model, weights.decode, tokens, conditions, layer
    )  # [B, H, N + T or T, keys]
    return probs[:, :, config.lyric_prefix :, : config.num_lyrics]


def align_lyrics(
    config: PriorConfig,
    weights: PriorWeights,
    codes: np.ndarray,
    labels: list[Labels],
    *,
    window_hop: int,
    layer: int,
    head: int,
) -> list[np.ndarray]:
    """Computes the attention of each code to each letter of the lyrics.

    Where windows overlap, the earlier window is used, as in OpenAI's code.

    Args:
      config, weights: of the top level's prior.
      codes: int32 [B, t], of that level.
      labels: of each item, with its lyrics.
      window_hop: codes between the starts of neighboring windows.
      layer, head: layer and head of the attention.

    Returns:
      float64 [t, letters] for each item.
    """
    seq_len, length = config.seq_len, codes.shape[1]
    padded = fit_length(codes, max(length, seq_len))
    # The last column collects the attention to padding.
    maps = [np.zeros((padded.shape[1], len(item.lyrics) + 1)) for item in labels]
    for start in reversed(list_window_starts(padded.shape[1], seq_len, window_hop)):
        inputs = PriorInputs(
            jnp.asarray(padded[:, start : start + seq_len], jnp.int32),
            labels=jnp.asarray(make_window_labels(config, labels, start)),
        )
        attention = _read_attention(config, weights, inputs, layer)[:, head]
        for item, item_attention, item_map in zip(labels, attention, maps, strict=True):
            letters = find_lyric_window(config, item, start)
            item_map[start : start + seq_len, letters] = item_attention
    return [item_map[:length, :-1] for item_map in maps]
