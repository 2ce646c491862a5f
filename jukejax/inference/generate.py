"""From priors to codes: one compiled program fills a window; windows follow a schedule.

Dimensions: B items, R rows of a batch, T seq_len, V codebook_size.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.data import lyrics as lyrics_data
from jukejax.data.labels import label_vector
from jukejax.inference import budget, schedules
from jukejax.inference import token_loop as sampling
from jukejax.inference.batches import Job, Limit, Parts
from jukejax.inference.schedules import SCHEDULES, LevelProgress, OnJoin, Track
from jukejax.inference.token_loop import Method
from jukejax.inference.windows import window_starts
from jukejax.models import autoregressive, transformer
from jukejax.models.autoregressive import Conditions
from jukejax.models.prior import Prior, PriorConfig, music, sequence
from jukejax.ops.chunks import in_chunks


class Labels(NamedTuple):
    """What one item is labelled with.

    Attributes:
      artist, genres: ids from the model's vocabulary.
      total_samples: length of the whole piece, of which the item may be a part.
      offset: samples of the piece before the item.
      lyrics: tokens of the whole piece, for models with lyrics.
    """

    artist: int
    genres: tuple[int, ...]
    total_samples: int
    offset: int = 0
    lyrics: tuple[int, ...] = ()


class WindowInputs(NamedTuple):
    """Arguments of windows side by side; all arrays, so that every window runs the same program.

    Attributes:
      codes: int32 [R, T], slots before `start` are kept.
      upper_codes: int32 [R, T // ratio] or None.
      labels: int32 [R, label_width] or None.
      start, stop: int32 scalars, the slots to fill.
      offset: int32 scalar or [R], codes before the window in the track.
      keys: [R] PRNG keys.
      temperature: float32 scalar.
    """

    codes: jax.Array
    upper_codes: jax.Array | None
    labels: jax.Array | None
    start: jax.Array
    stop: jax.Array
    offset: jax.Array
    keys: jax.Array
    temperature: jax.Array


class PriorWeights(NamedTuple):
    """A prior's parameters, ready to decode with."""

    conditioners: Tree
    decode: autoregressive.DecodeWeights


def prior_weights(
    config: PriorConfig, params: Tree, dtype: jnp.dtype, weights: str = "float"
) -> PriorWeights:
    """Casts once and takes the layers apart; `weights` as in `autoregressive.decode_weights`."""
    others = {name: part for name, part in params.items() if name != "autoregressive"}
    decode = autoregressive.decode_weights(
        config.autoregressive, params["autoregressive"], dtype, weights
    )
    return PriorWeights(jax.tree.map(jnp.asarray, others), decode)


def condition(
    config: PriorConfig,
    weights: PriorWeights,
    upper_codes: jax.Array | None,
    labels: jax.Array | None,
) -> Conditions:
    """What a window is told, in the dtype that it is decoded in."""
    dtype = weights.decode.dtype
    params = {"params": weights.conditioners}
    return Prior(config, dtype).apply(params, upper_codes, labels, method=Prior.conditions)


@functools.partial(jax.jit, static_argnames=("config", "method", "chunk", "fresh"))
def fill_window(
    config: PriorConfig,
    method: Method,
    weights: PriorWeights,
    inputs: WindowInputs,
    chunk: int | None = None,
    fresh: bool = False,
) -> jax.Array:
    """Conditions, prefill and token loop of windows: int32 [R, T], filled up to `stop`.

    Args:
      chunk: rows that pass through the model whole at once; None: all.
      fresh: `start` is 0, so that there is nothing to prefill (save lyrics).
    """
    conditions = in_chunks(
        lambda codes, *told: condition(config, weights, *told),
        chunk,
        inputs.codes,
        inputs.upper_codes,
        inputs.labels,
    )
    tokens, before = sequence(config, inputs.codes, inputs.labels), config.lyric_prefix
    model, start = config.autoregressive, before + inputs.start
    if fresh and not config.num_lyrics:
        caches = transformer.empty_caches(model.transformer, len(tokens), weights.decode.dtype)
    else:
        caches = autoregressive.prefill(model, weights.decode, tokens, conditions, start, chunk)

    def step(caches, previous, position):
        return autoregressive.step(model, weights.decode, caches, previous, conditions, position)

    state = sampling.fill_window(
        step,
        caches,
        tokens,
        start=start,
        stop=before + inputs.stop,
        keys=inputs.keys,
        offset=inputs.offset - before,
        temperature=inputs.temperature,
        method=method,
    )
    return music(config, state.codes)


def item_keys(seed: int, items: range, level: int) -> jax.Array:
    """[B] keys: an item's noise depends on the seed, its number and the level only."""
    root = jax.random.fold_in(jax.random.key(seed), level)
    return jnp.stack([jax.random.fold_in(root, item) for item in items])


def fit(codes: np.ndarray, length: int) -> np.ndarray:
    """Codes [B, t] cut or padded with zeros to [B, length]."""
    codes = codes[:, :length]
    return np.pad(codes, ((0, 0), (0, length - codes.shape[1])))


def lyric_window(config: PriorConfig, item: Labels, start: int) -> np.ndarray:
    """Which of an item's lyrics the window at code `start` is told; -1 for padding, int32 [N]."""
    return lyrics_data.window(
        len(item.lyrics),
        config.num_lyrics,
        total_samples=item.total_samples,
        offset=item.offset + start * config.hop_length,
        sample_length=config.sample_length,
        dtype=np.float32,  # as OpenAI's sampling
    )


def window_labels(config: PriorConfig, labels: Sequence[Labels], start: int) -> np.ndarray:
    """The label vectors of the window at code `start`, int32 [B, label_width]."""
    rows = []
    for item in labels:
        row = label_vector(
            item.total_samples,
            item.offset + start * config.hop_length,
            config.sample_length,
            item.artist,
            item.genres,
            config.labels.max_genres,
        )
        tokens = lyrics_data.take(item.lyrics, lyric_window(config, item, start))
        rows.append(np.concatenate([row, tokens]))
    return np.stack(rows)


def sample_level(
    config: PriorConfig,
    weights: PriorWeights,
    *,
    total: int,
    given: np.ndarray,
    upper: np.ndarray | None,
    labels: Sequence[Labels],
    keys: jax.Array,
    window_hop: int,
    temperature: float,
    method: Method,
    schedule: str = "sequential",
    memory_fraction: float = 0.8,
    max_batch: int | None = None,
    parts: Parts | None = None,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """Samples one level, batch after batch of windows; yields what is there after each.

    What an item becomes depends on neither the other items nor the batches.

    Args:
      config, weights: of the level's prior.
      total: codes of the finished track.
      given: int32 [B, t], codes that are fixed already: a prompt, or an earlier run's `codes`.
      upper: int32 [B, total // ratio], the finished level above; None at the top.
      labels: of each item; used if the model is labelled.
      keys: [B], one an item.
      window_hop: codes between the starts of neighbouring windows.
      temperature: 0 is greedy.
      method: top-k and top-p.
      schedule: "sequential", each window after the one before it, or "parallel", all of a track's
        windows side by side (inference/schedules.py). The same if there is but one window.
      memory_fraction: share of the device's memory that a batch and the weights may take.
      max_batch: rows of a batch at most, fewer than fit; None: as many as fit.
      parts: an earlier run's `parts`, of the same schedule and `total`.
      on_join: hears of (item, code, agreement) where a window takes over from another, or a prompt.

    Raises:
      ValueError: an unknown schedule; windows off the grid of the level above; `parts` of another
        level; and, at any time, a single window does not fit into memory.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}; known: {', '.join(SCHEDULES)}")
    track = Track(total, config.seq_len, window_hop)
    ratio = 1 if config.upper is None else config.upper.ratio
    for start in window_starts(*track):
        if start % ratio:
            raise ValueError(
                f"a window of level {config.level} starts at {start}, which is no multiple of "
                f"{ratio}; change --hop_fraction"
            )
    batch = budget.fitting(config, weights, weights.decode.dtype, memory_fraction)

    def draw(jobs: Sequence[Job], codes: np.ndarray) -> np.ndarray:
        """What these windows draw, int32 [R, stop - fixed]."""
        _, _, window = jobs[0]
        starts = [job.window.start for job in jobs]
        rows = [codes[job.item, job.window.start : job.window.start + window.fixed] for job in jobs]
        upper_codes = label_rows = None
        if config.upper is not None:
            above = [upper[job.item, job.window.start // ratio :] for job in jobs]
            upper_codes = _rows(above, config.seq_len // ratio)
        if config.labels is not None:
            vectors = [window_labels(config, [labels[job.item]], job.window.start) for job in jobs]
            label_rows = jnp.asarray(np.concatenate(vectors), jnp.int32)
        inputs = WindowInputs(
            codes=_rows(rows, config.seq_len),
            upper_codes=upper_codes,
            labels=label_rows,
            start=jnp.int32(window.fixed),
            stop=jnp.int32(window.stop),
            offset=jnp.asarray(starts, jnp.int32),
            keys=keys[np.array([job.item for job in jobs])],
            temperature=jnp.float32(temperature),
        )
        chunk = None if batch.chunk >= len(jobs) else batch.chunk
        fresh = schedule == "parallel" and not window.fixed
        filled = fill_window(config, method, weights, inputs, chunk=chunk, fresh=fresh)
        return np.asarray(filled)[:, window.fixed : window.stop]

    run = schedules.parallel if schedule == "parallel" else schedules.sequential
    return run(
        track,
        draw,
        given=np.asarray(given, np.int32),
        parts=parts or {},
        limit=Limit(batch.rows if max_batch is None else min(batch.rows, max_batch)),
        on_join=on_join,
    )


def _rows(pieces: Sequence[np.ndarray], length: int) -> jax.Array:
    """Codes of each row, cut or padded with zeros to int32 [R, length]."""
    return jnp.asarray(np.concatenate([fit(piece[None], length) for piece in pieces]), jnp.int32)
