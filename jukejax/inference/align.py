"""Alignment of lyrics and music by the attention of a model with lyrics to each letter.

Dimensions: B batch, H heads, T seq_len, N lyric tokens of a window, t codes of a track.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.conditioning import (
    Labels,
    PriorInputs,
    PriorWeights,
    compute_conditions,
    find_lyric_window,
    fit_length,
    make_window_labels,
)
from jukejax.inference.windows import window_starts
from jukejax.models import decoding
from jukejax.models.prior import PriorConfig, build_sequence
from jukejax.ops.attention.kinds import AttentionKind


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
    model = config.autoregressive
    kinds: tuple[AttentionKind, ...] = (AttentionKind.ENCODER_DECODER,)
    if config.lyric_prefix:
        kinds = (AttentionKind.PRIME, AttentionKind.DENSE)
    layers = [
        index
        for index, kind in enumerate(model.transformer.pattern)
        if config.num_lyrics and kind in kinds
    ]
    if layer not in layers:
        raise ValueError(f"layer {layer} does not attend to lyrics; layers that do: {layers}")
    conditions = compute_conditions(config, weights, inputs.upper_codes, inputs.labels)
    tokens = build_sequence(config, inputs.codes, inputs.labels)
    probs = decoding.attention_probabilities(
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
    for start in reversed(window_starts(padded.shape[1], seq_len, window_hop)):
        inputs = PriorInputs(
            jnp.asarray(padded[:, start : start + seq_len], jnp.int32),
            labels=jnp.asarray(make_window_labels(config, labels, start)),
        )
        attention = np.asarray(compute_lyric_attention(config, weights, inputs, layer))[:, head]
        for item, item_attention, item_map in zip(labels, attention, maps, strict=True):
            letters = find_lyric_window(config, item, start)
            item_map[start : start + seq_len, letters] = item_attention
    return [item_map[:length, :-1] for item_map in maps]
