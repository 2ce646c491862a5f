"""Where a model with lyrics looks while it plays: which letter, at which code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.generate import (
    Labels,
    PriorWeights,
    condition,
    fit,
    lyric_window,
    window_labels,
)
from jukejax.inference.windows import window_starts
from jukejax.models import autoregressive
from jukejax.models.prior import PriorConfig, sequence
from jukejax.ops.attention.kinds import AttentionKind


@functools.partial(jax.jit, static_argnums=(0, 4))
def lyric_attention(
    config: PriorConfig,
    weights: PriorWeights,
    codes: jax.Array,
    labels: jax.Array,
    layer: int,
    upper_codes: jax.Array | None = None,
) -> jax.Array:
    """Attention of one layer from a window's codes to its lyrics, float32 [B, H, T, N].

    Args:
      codes: int32 [B, T], a whole window.
      labels: int32 [B, label_width].
      layer: of kind 6 ("separate") or kind 7 or 0 ("single").
      upper_codes: int32 [B, T // ratio], for upsamplers.

    Raises:
      ValueError: the layer does not attend to lyrics.
    """
    model = config.autoregressive
    pattern = model.transformer.pattern
    kinds = (AttentionKind.ENCODER_DECODER,)
    if config.lyric_prefix:
        kinds = (AttentionKind.PRIME, AttentionKind.DENSE)
    able = [i for i, kind in enumerate(pattern) if config.num_lyrics and kind in kinds]
    if layer not in able:
        raise ValueError(f"layer {layer} does not attend to lyrics; layers that do: {able}")
    conditions = condition(config, weights, upper_codes, labels)
    tokens = sequence(config, codes, labels)
    probs = autoregressive.attention_probabilities(
        model, weights.decode, tokens, conditions, layer
    )  # [B, H, N + T or T, keys]
    return probs[:, :, config.lyric_prefix :, : config.num_lyrics]


def align(
    config: PriorConfig,
    weights: PriorWeights,
    codes: np.ndarray,
    labels: list[Labels],
    *,
    window_hop: int,
    layer: int,
    head: int,
) -> list[np.ndarray]:
    """Which letter each code attends to; float64 [t, letters] for each item.

    Windows overlap: where they do, the earlier one counts, as in OpenAI's code.

    Args:
      config, weights: of the top level's prior.
      codes: int32 [B, t], of that level.
      labels: of each item, with its lyrics.
      window_hop: codes between the starts of neighbouring windows.
      layer, head: whose attention.
    """
    seq_len, length = config.seq_len, codes.shape[1]
    padded = fit(codes, max(length, seq_len))
    # The last column takes what goes to the padding.
    maps = [np.zeros((padded.shape[1], len(item.lyrics) + 1)) for item in labels]
    for start in reversed(window_starts(padded.shape[1], seq_len, window_hop)):
        window = jnp.asarray(padded[:, start : start + seq_len], jnp.int32)
        rows = jnp.asarray(window_labels(config, labels, start))
        weight = np.asarray(lyric_attention(config, weights, window, rows, layer))[:, head]
        for item, seen, into in zip(labels, weight, maps, strict=True):
            into[start : start + seq_len, lyric_window(config, item, start)] = seen
    return [into[:length, :-1] for into in maps]
