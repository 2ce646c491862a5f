"""The program that samples a batch of windows: conditions, prefill and token loop.

Dimensions: R rows of a batch, T seq_len.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jukejax.common.types import Tree
from jukejax.inference.conditioning import PriorWeights, compute_conditions
from jukejax.inference.placement import map_rows
from jukejax.inference.token_loop import LogitsFilter, TrackNoise, sample_tokens
from jukejax.models import decoding, transformer
from jukejax.models.label_config import list_label_names
from jukejax.models.labels import compute_grid_bins, remove_labels
from jukejax.models.prior import build_sequence, extract_codes, split_labels
from jukejax.models.prior_config import PriorConfig
from jukejax.ops.chunks import map_chunks


class WindowInputs(NamedTuple):
    """The inputs of a batch of windows; all are arrays, so that one program serves all batches.

    Attributes:
      codes: int32 [R, T]; slots before `start` are kept.
      upper_codes: int32 [R, *upper.find_shape] or None.
      labels: int32 [R, label_width] or None.
      start, stop: int32 scalars, the slots to fill.
      offset: int32 scalar or [R], codes before the window in the track.
      keys: [R] PRNG keys.
      temperature: float32 scalar or [R].
      guidance: float32 scalar or [R]; None: no guidance.
      guided: bool [R, labels of `list_label_names`], those that guidance follows; None without it.
    """

    codes: jax.Array
    upper_codes: jax.Array | None
    labels: jax.Array | None
    start: jax.Array
    stop: jax.Array
    offset: jax.Array
    keys: jax.Array
    temperature: jax.Array
    guidance: jax.Array | None = None
    guided: jax.Array | None = None


@functools.partial(jax.jit, static_argnames=("config", "logits_filter", "chunk", "fresh"))
def sample_windows(
    config: PriorConfig,
    logits_filter: LogitsFilter,
    weights: PriorWeights,
    inputs: WindowInputs,
    chunk: int | None = None,
    fresh: bool = False,
) -> jax.Array:
    """Samples a batch of windows: conditions, prefill and token loop.

    With guidance each row is computed twice, with its labels and without the guided ones
    (classifier-free guidance, Ho and Salimans, 2022): the logits are u + guidance (l - u), l with
    all labels and u without those.

    Args:
      chunk: rows of a pass over whole windows; None: all.
      fresh: `start` is 0, so that only lyrics are prefilled.

    Returns:
      int32 [R, T], filled up to `stop`.
    """
    guidance, rows = inputs.guidance, _add_unlabeled_rows(config, inputs)
    conditions = map_chunks(
        lambda codes, upper_codes, labels: compute_conditions(config, weights, upper_codes, labels),
        chunk,
        rows.codes,
        rows.upper_codes,
        rows.labels,
    )
    tokens, prefix = build_sequence(config, rows.codes, rows.labels), config.lyric_prefix
    model, start = config.autoregressive, prefix + inputs.start
    if fresh and not config.num_lyrics:
        dtype = weights.decode.cache_dtype
        caches = transformer.empty_caches(model.transformer, len(tokens), dtype)
    else:
        caches = decoding.prefill_caches(model, weights.decode, tokens, conditions, start, chunk)

    def step(caches: Tree, previous: jax.Array, position: jax.Array) -> tuple[jax.Array, Tree]:
        if guidance is not None:
            previous = jnp.concatenate([previous, previous])
        logits, caches = decoding.decode_step(
            model, weights.decode, caches, previous, conditions, position
        )
        if guidance is not None:
            labeled, unlabeled = jnp.split(logits, 2)
            logits = unlabeled + guidance.reshape(-1, 1) * (labeled - unlabeled)
        return logits, caches

    state = sample_tokens(
        step,
        caches,
        tokens[: len(inputs.codes)],
        start=start,
        stop=prefix + inputs.stop,
        noise=TrackNoise(inputs.keys, inputs.offset - prefix),
        temperature=_spread_temperatures(config, inputs),
        logits_filter=logits_filter,
        lookback=config.lookback,
    )
    return extract_codes(config, state.codes)


@functools.partial(jax.jit, static_argnames=("config", "logits_filter", "chunk", "fresh", "mesh"))
def sample_divided_windows(
    config: PriorConfig,
    logits_filter: LogitsFilter,
    weights: PriorWeights,
    inputs: WindowInputs,
    chunk: int | None = None,
    fresh: bool = False,
    *,
    mesh: Mesh,
) -> jax.Array:
    """Computes `sample_windows` on the devices of `mesh`, each for its rows; see `map_rows`."""
    sample = functools.partial(sample_windows, config, logits_filter, chunk=chunk, fresh=fresh)
    return map_rows(sample, mesh, weights, inputs)


def _spread_temperatures(config: PriorConfig, inputs: WindowInputs) -> jax.Array:
    """Returns the temperature of every code, [R, 1], or [R, T] if turns have their own."""
    temperature = inputs.temperature.reshape(-1, 1)
    if not config.turn_temperatures:
        return temperature
    assert config.labels is not None
    metadata, _ = split_labels(config, inputs.labels)
    turns = compute_grid_bins(config.labels, metadata, config.seq_len)["turn"]
    factors = jnp.array(config.turn_temperatures, jnp.float32)[turns]
    return temperature * jnp.pad(factors, ((0, 0), (config.lyric_prefix, 0)), constant_values=1.0)


def _add_unlabeled_rows(config: PriorConfig, inputs: WindowInputs) -> WindowInputs:
    """Returns the inputs followed by the rows without guided labels, if there is guidance."""
    if inputs.guidance is None:
        return inputs
    assert config.labels is not None
    assert inputs.labels is not None
    assert inputs.guided is not None
    removed = dict(zip(list_label_names(config.labels), inputs.guided.T, strict=True))
    unlabeled = inputs._replace(labels=remove_labels(config.labels, inputs.labels, removed))
    return jax.tree.map(
        lambda first, second: jnp.concatenate([first, second]) if first.ndim > 1 else first,
        inputs,
        unlabeled,
    )
