"""How likely a prior finds codes that are there already: bits a code, teacher-forced.

Dimensions: B batch, T seq_len, t codes of a track.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.generate import Labels, PriorWeights, condition, fit, window_labels
from jukejax.models import transformer
from jukejax.models.prior import PriorConfig, sequence


@functools.partial(jax.jit, static_argnums=0)
def window_bits(
    config: PriorConfig,
    weights: PriorWeights,
    codes: jax.Array,
    upper_codes: jax.Array | None,
    labels: jax.Array | None,
) -> jax.Array:
    """Cross entropy of each code of a window, given those before it: bits, float32 [B, T].

    Args:
      codes: int32 [B, T].
      upper_codes: int32 [B, T // ratio], for upsamplers.
      labels: int32 [B, label_width], for labelled models.
    """
    conditions = condition(config, weights, upper_codes, labels)
    tokens, before = sequence(config, codes, labels), config.lyric_prefix
    outer, stack = {"params": weights.decode.outer}, config.autoregressive.transformer
    model = weights.decode.model(config.autoregressive)
    x = model.apply(outer, tokens, conditions, True, method=model.embed)
    states, length = conditions.encoder_states, jnp.int32(tokens.shape[1])
    x, _ = transformer.prefill_layers(stack, weights.decode.layers, x, states, length)
    logits = model.apply(outer, x, conditions.code_cond, method=model.predict)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen)[:, before:] / jnp.log(2.0)


def span_bits(
    config: PriorConfig,
    weights: PriorWeights,
    codes: np.ndarray,
    *,
    begin: int,
    upper: np.ndarray | None,
    labels: Labels | None,
) -> float:
    """Bits of a track's codes from `begin` on, as far as one window sees them and what was before.

    The window lies so that `begin` is in its middle, or nearer to it than the track's ends allow.

    Args:
      codes: int32 [t], the whole track.
      begin: the first code that counts.
      upper: int32 [t // ratio], the level above, for upsamplers.
      labels: of the track, for labelled models.
    """
    ratio = 1 if config.upper is None else config.upper.ratio
    latest = max(len(codes) - config.seq_len, 0)
    start = min(max(begin - config.seq_len // 2, 0), latest) // ratio * ratio
    window = fit(codes[None, start:], config.seq_len)
    upper_codes = rows = None
    if config.upper is not None:
        upper_codes = jnp.asarray(fit(upper[None, start // ratio :], config.seq_len // ratio))
    if config.labels is not None:
        rows = jnp.asarray(window_labels(config, [labels], start), jnp.int32)
    bits = window_bits(config, weights, jnp.asarray(window), upper_codes, rows)
    return float(bits[0, begin - start : len(codes) - start].sum())
