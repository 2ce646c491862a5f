"""Resampling of a range of a track: several candidates, of which one is selected.

A prior depends on earlier codes only, so that candidates for the range are sampled as continuations
of the codes before it. Their weights are the likelihoods of the codes after the range, which are
kept: p(range | left, right) is proportional to p(range | left) p(right | left, range). Sampling
  from
the first factor and weighting by the second is importance sampling (Rubin 1987,
sampling/importance resampling); here the candidate of the largest weight is selected.

Dimensions: B items, N candidates of each, t codes of a level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.conditioning import Labels, PriorWeights, TrackCodes
from jukejax.inference.score import compute_span_bits
from jukejax.models.prior_config import PriorConfig


def make_candidate_keys(keys: jax.Array, count: int) -> jax.Array:
    """Derives the keys [B * N] of all candidates from the keys [B] of the items.

    They differ from the item's key, with which the original codes would be sampled again.
    """
    numbers = jnp.arange(1, count + 1)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
    return fold(keys, numbers).reshape(-1)


def select_candidates(
    config: PriorConfig,
    weights: PriorWeights,
    *,
    candidates: np.ndarray,
    continuations: np.ndarray,
    upper_codes: np.ndarray | None,
    labels: Sequence[Labels],
) -> np.ndarray:
    """Selects for each item the candidate that maximizes the likelihood of its continuation.

    Args:
      config, weights: of the level's prior.
      candidates: int32 [B * N, stop], the codes up to the end of the range.
      continuations: int32 [B, t - stop], the codes after the range; without any, the first
        candidate is selected.
      upper_codes: int32 [B, t // ratio], the level above, for upsamplers.
      labels: of each item.

    Returns:
      The whole tracks, int32 [B, t].
    """
    count, stop = len(candidates) // len(continuations), candidates.shape[1]
    selected = []
    for row, continuation in enumerate(continuations):
        tracks = [
            np.concatenate([codes, continuation])
            for codes in candidates[row * count : (row + 1) * count]
        ]
        if count == 1 or not len(continuation):
            selected.append(tracks[0])
            continue
        upper = None if upper_codes is None else upper_codes[row]
        bits = [
            compute_span_bits(config, weights, TrackCodes(codes, upper, labels[row]), begin=stop)
            for codes in tracks
        ]
        selected.append(tracks[int(np.argmin(bits))])
    return np.stack(selected)
