"""Likelihood of codes under a prior, in bits per code, teacher-forced.

Dimensions: B batch, T seq_len.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jukejax.inference.conditioning import (
    PriorInputs,
    PriorWeights,
    TrackCodes,
    compute_conditions,
    cut_windows,
)
from jukejax.inference.weight_sharding import find_mesh, use_mesh
from jukejax.models import transformer
from jukejax.models.prior import build_sequence
from jukejax.models.prior_config import PriorConfig
from jukejax.models.prior_losses import compute_code_bits


class WindowScores(NamedTuple):
    """Predictions of each code of windows, given the earlier codes.

    Attributes:
      bits: cross entropy, float32 [B, T].
      most_likely: code, int32 [B, T].
    """

    bits: jax.Array
    most_likely: jax.Array


def score_windows(config: PriorConfig, weights: PriorWeights, inputs: PriorInputs) -> WindowScores:
    """Computes the predictions of a prior for the codes of windows, where its weights are."""
    with use_mesh(find_mesh(weights)):
        return _compute_scores(config, weights, inputs)


@functools.partial(jax.jit, static_argnums=0)
def _compute_scores(
    config: PriorConfig, weights: PriorWeights, inputs: PriorInputs
) -> WindowScores:
    conditions = compute_conditions(config, weights, inputs.upper_codes, inputs.labels)
    tokens, prefix = build_sequence(config, inputs.codes, inputs.labels), config.lyric_prefix
    outer, stack = {"params": weights.decode.outer}, config.autoregressive.transformer
    model: Any = weights.decode.model(config.autoregressive)
    x = model.apply(outer, tokens, conditions, True, method=model.embed)
    states, length = conditions.encoder_states, jnp.int32(tokens.shape[1])
    x, _ = transformer.prefill_layers(stack, weights.decode.layers, x, states, length)
    logits = model.apply(outer, x, conditions.code_cond, method=model.predict)
    bits = compute_code_bits(logits, tokens)[:, prefix:]
    return WindowScores(bits, jnp.argmax(logits[:, prefix:], axis=-1).astype(jnp.int32))


def compute_span_bits(
    config: PriorConfig, weights: PriorWeights, track: TrackCodes, begin: int
) -> float:
    """Computes the bits of a track's codes from `begin` to the end of one window.

    `begin` is in the middle of the window, or as close to it as the ends of the track permit; the
    codes of the window before `begin` are the context.
    """
    ratio = 1 if config.upper is None else config.upper.ratio
    latest = max(len(track.codes) - config.seq_len, 0)
    start = min(max(begin - config.seq_len // 2, 0), latest) // ratio * ratio
    bits = score_windows(config, weights, cut_windows(config, track, [start])).bits
    return float(bits[0, begin - start : len(track.codes) - start].sum())
