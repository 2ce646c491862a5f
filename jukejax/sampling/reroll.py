"""A range of a track drawn anew while both of its sides stay: several candidates, one is taken.

A prior knows only what came before, so the range is drawn from its left side, several times over.
Of two candidates the better is the one after which the right side, which is kept, is likelier:
p(range | left, right) is proportional to p(range | left) p(right | left, range). Drawing from the
first factor and weighing by the second is sampling by importance (Rubin 1987, sampling/importance
resampling); we take the candidate of the largest weight, since a listener hears one.

Dimensions: B items, N candidates of each, t codes of a level.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference.conditioning import Labels, PriorWeights, TrackCodes
from jukejax.inference.score import compute_span_bits
from jukejax.models.prior import PriorConfig


def candidate_keys(keys: jax.Array, count: int) -> jax.Array:
    """[B] keys of items to [B * N] of their candidates, none of which is the item's own.

    With the item's own key the range would be drawn as it was when the track was made.
    """
    numbers = jnp.arange(1, count + 1)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
    return fold(keys, numbers).reshape(-1)


def choose(
    config: PriorConfig,
    weights: PriorWeights,
    *,
    drawn: np.ndarray,
    kept: np.ndarray,
    upper: np.ndarray | None,
    labels: Sequence[Labels],
) -> np.ndarray:
    """Puts to each item the candidate that its right side goes best with, int32 [B, t].

    Args:
      config, weights: of the level's prior.
      drawn: int32 [B * N, stop], left side and range of each candidate.
      kept: int32 [B, t - stop], the right side; may be empty, and then the first candidate counts.
      upper: int32 [B, t // ratio], the level above, for upsamplers.
      labels: of each item.
    """
    count, stop = len(drawn) // len(kept), drawn.shape[1]
    tracks = []
    for row, right in enumerate(kept):
        candidates = [
            np.concatenate([left, right]) for left in drawn[row * count : (row + 1) * count]
        ]
        if count == 1 or not len(right):
            tracks.append(candidates[0])
            continue
        bits = [
            compute_span_bits(
                config,
                weights,
                TrackCodes(codes, None if upper is None else upper[row], labels[row]),
                begin=stop,
            )
            for codes in candidates
        ]
        tracks.append(candidates[int(np.argmin(bits))])
    return np.stack(tracks)
