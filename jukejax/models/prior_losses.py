"""The losses of a prior, in bits, and the codes that training hides from it.

Letters: B batch, T seq_len, V vocabulary.
"""

import jax
import jax.numpy as jnp

from jukejax.models.labels import compute_grid_bins
from jukejax.models.prior import Predictions, split_labels
from jukejax.models.prior_config import PriorConfig

HIDDEN_TURNS = 0.75  # share of the turns of a window that are hidden


def draw_hidden_codes(
    config: PriorConfig, labels: jax.Array | None, batch: int, key: jax.Array
) -> jax.Array:
    """Draws the codes that are hidden from the inputs of training windows, bool [B, T].

    In `context_dropout` of the windows they are the codes before a position that is drawn
    uniformly. A code that many earlier codes tell teaches nothing about a label that tells it too,
    such as the key; without them it does. Of codes that take turns, each turn is hidden with the
    probability `HIDDEN_TURNS`.

    Args:
      labels: int [B, label_width], or None.
    """
    key_windows, key_ends, key_turns = jax.random.split(key, 3)
    windows = jax.random.bernoulli(key_windows, config.context_dropout, (batch, 1))
    ends = jax.random.randint(key_ends, (batch, 1), 0, config.seq_len + 1)
    hidden = windows & (jnp.arange(config.seq_len) < ends)
    if config.labels is not None and config.labels.turns:
        metadata, _ = split_labels(config, labels)
        turns = compute_grid_bins(config.labels, metadata, config.seq_len)["turn"]
        shape = (batch, config.labels.turns)
        hidden_turns = jax.random.bernoulli(key_turns, HIDDEN_TURNS, shape)
        hidden &= jnp.take_along_axis(hidden_turns, turns, axis=1)
    return hidden


def compute_bits_per_code(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes the mean cross entropy in bits; logits [B, T, V], codes int [B, T]."""
    return compute_code_bits(logits, codes).mean()


def compute_example_bits(
    config: PriorConfig, predictions: Predictions, codes: jax.Array
) -> jax.Array:
    """Computes the bits per code of each window of a batch, float32 [B]."""
    return compute_code_bits(predictions.codes, codes + config.code_shift).mean(axis=-1)


def compute_code_bits(logits: jax.Array, codes: jax.Array) -> jax.Array:
    """Computes the cross entropy of each code in bits, float32 [B, T]."""
    logits = logits.astype(jnp.float32)
    target = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - target) / jnp.log(2.0)


def compute_losses(
    config: PriorConfig, predictions: Predictions, codes: jax.Array, labels: jax.Array | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes (loss, parts), all in bits: "bits_per_code" and, with lyrics, "bits_per_letter".

    The loss weights the parts by their lengths, and the lyrics by `loss_fraction` too.
    """
    bits = compute_bits_per_code(predictions.codes, codes + config.code_shift)
    if config.lyrics is None:
        return bits, {"bits_per_code": bits}
    _, lyrics = split_labels(config, labels)
    assert predictions.lyrics is not None
    letters = compute_bits_per_code(predictions.lyrics, lyrics)
    share = config.num_lyrics / (config.num_lyrics + config.seq_len)
    loss = config.lyrics.loss_fraction * share * letters + (1 - share) * bits
    return loss, {"bits_per_code": bits, "bits_per_letter": letters}
