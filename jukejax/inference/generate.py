"""Sampling of a level with a prior, in batches of windows by one compiled program.

Dimensions: B items, R rows of a batch, T seq_len, t codes of a track.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.inference import budget
from jukejax.inference.batches import BatchLimit, SampledWindows, WindowJob
from jukejax.inference.conditioning import (
    Labels,
    PriorWeights,
    compute_conditions,
    make_window_labels,
    stack_rows,
)
from jukejax.inference.schedules import SCHEDULES, LevelProgress, OnJoin, WindowGrid
from jukejax.inference.token_loop import NO_FILTER, LogitsFilter, TrackNoise, sample_tokens
from jukejax.inference.windows import window_starts
from jukejax.models import decoding, transformer
from jukejax.models.labels import label_names, remove_labels
from jukejax.models.prior import PriorConfig, build_sequence, extract_codes
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

    With guidance each row is computed twice, with its labels and without (classifier-free guidance,
    Ho and Salimans, 2022): the logits are u + guidance (l - u), l with labels and u without.

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
        caches = transformer.empty_caches(model.transformer, len(tokens), weights.decode.dtype)
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
        temperature=inputs.temperature.reshape(-1, 1),
        logits_filter=logits_filter,
        lookback=config.lookback,
    )
    return extract_codes(config, state.codes)


def _add_unlabeled_rows(config: PriorConfig, inputs: WindowInputs) -> WindowInputs:
    """Returns the inputs followed by the same rows without labels, if there is guidance."""
    if inputs.guidance is None:
        return inputs
    assert config.labels is not None
    assert inputs.labels is not None
    removed = jnp.ones(len(inputs.labels), bool)
    names = dict.fromkeys(label_names(config.labels), removed)
    unlabeled = inputs._replace(labels=remove_labels(config.labels, inputs.labels, names))
    return jax.tree.map(
        lambda first, second: jnp.concatenate([first, second]) if first.ndim > 1 else first,
        inputs,
        unlabeled,
    )


def make_item_keys(seed: int, items: Iterable[int], level: int) -> jax.Array:
    """Returns the PRNG key of each item, [B], derived from seed, item number and level only."""
    root = jax.random.fold_in(jax.random.key(seed), level)
    return jnp.stack([jax.random.fold_in(root, item) for item in items])


@dataclass(frozen=True)
class LevelTracks:
    """The tracks of a level before it is sampled.

    Attributes:
      total: codes of a finished track.
      codes: int32 [B, t], fixed at the start of each track: a prompt, or codes of an interrupted
        run.
      upper_codes: int32 [B, total // ratio, ...], the finished level above; None at the top.
      labels: labels of each item, for labeled models.
      keys: [B], one an item.
    """

    total: int
    codes: np.ndarray
    upper_codes: np.ndarray | None
    labels: Sequence[Labels]
    keys: jax.Array


@dataclass(frozen=True)
class SamplingSettings:
    """The settings of the sampling of a level.

    Attributes:
      window_hop: codes between the starts of neighboring windows.
      temperature: one number, or one for each item; 0 is greedy.
      guidance: weight of the labels, see `sample_windows`, one number or one for each item; 1 for
        all of them: as trained, without more work.
      logits_filter: top-k and top-p.
      schedule: "sequential" or "parallel" (inference/schedules.py); the same for a single window.
      memory_fraction: share of the device's memory for a batch and the weights.
      max_batch: limit of the rows of a batch; None: as many as fit into the memory.
    """

    window_hop: int
    temperature: float | tuple[float, ...]
    guidance: float | tuple[float, ...] = 1.0
    logits_filter: LogitsFilter = NO_FILTER
    schedule: str = "sequential"
    memory_fraction: float = 0.8
    max_batch: int | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; known: {', '.join(SCHEDULES)}")

    @property
    def is_guided(self) -> bool:
        """Returns true if the guidance of any item differs from 1."""
        return bool(np.any(np.asarray(self.guidance) != 1))


def sample_level(
    config: PriorConfig,
    weights: PriorWeights,
    tracks: LevelTracks,
    settings: SamplingSettings,
    *,
    pending: SampledWindows | None = None,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """Samples one level; yields its state after each batch of windows.

    The codes of an item depend neither on the other items nor on the batches.

    Args:
      config, weights: of the level's prior.
      pending: windows of an interrupted run of the same schedule and `total`.
      on_join: called with (item, code, agreement) at each transition to a window from another, or
        from a prompt.

    Raises:
      ValueError: windows are not on the grid of the level above; `pending` is of another level; or
        a single window does not fit into memory.
    """
    grid = WindowGrid(tracks.total, config.seq_len, settings.window_hop)
    _check_grid(config, grid)
    batch = budget.fit_batch(config, weights, weights.decode.dtype, settings.memory_fraction)
    if settings.is_guided:  # two rows for each window
        batch = batch._replace(rows=max(batch.rows // 2, 1))
    max_rows = batch.rows if settings.max_batch is None else min(batch.rows, settings.max_batch)
    sampler = _LevelSampler(config, weights, tracks, settings, batch.chunk)
    return SCHEDULES[settings.schedule](
        grid,
        sampler.sample_batch,
        codes=np.asarray(tracks.codes, np.int32),
        pending=pending or {},
        limit=BatchLimit(max_rows),
        on_join=on_join,
    )


def _check_grid(config: PriorConfig, grid: WindowGrid) -> None:
    """Checks that windows start at whole codes of the level above."""
    ratio = 1 if config.upper is None else config.upper.ratio
    for start in window_starts(*grid):
        if start % ratio:
            raise ValueError(
                f"a window of level {config.level} starts at {start}, which is no multiple of "
                f"{ratio}; change --hop_fraction"
            )


@dataclass(frozen=True)
class _LevelSampler:
    """Samples batches of a level's windows.

    Attributes:
      chunk: rows of a pass over whole windows.
    """

    config: PriorConfig
    weights: PriorWeights
    tracks: LevelTracks
    settings: SamplingSettings
    chunk: int

    def sample_batch(self, jobs: Sequence[WindowJob], codes: np.ndarray) -> np.ndarray:
        """Samples windows with the same `fixed` and `stop`; see `schedules.SampleFn`."""
        window = jobs[0].window
        rows = 2 * len(jobs) if self.settings.is_guided else len(jobs)
        filled = sample_windows(
            self.config,
            self.settings.logits_filter,
            self.weights,
            self._make_inputs(jobs, codes),
            chunk=None if self.chunk >= rows else self.chunk,
            fresh=self.settings.schedule == "parallel" and not window.fixed,
        )
        return np.asarray(filled)[:, window.fixed : window.stop]

    def _make_inputs(self, jobs: Sequence[WindowJob], codes: np.ndarray) -> WindowInputs:
        config, tracks, window = self.config, self.tracks, jobs[0].window
        settings, items = self.settings, np.array([job.item for job in jobs])
        starts = [job.window.start for job in jobs]
        rows = [codes[job.item, job.window.start : job.window.start + window.fixed] for job in jobs]
        upper_codes = labels = None
        if config.upper is not None:
            assert tracks.upper_codes is not None
            ratio = config.upper.ratio
            above = [tracks.upper_codes[job.item, job.window.start // ratio :] for job in jobs]
            upper_codes = stack_rows(above, config.seq_len // ratio)
        if config.labels is not None:
            vectors = [
                make_window_labels(config, [tracks.labels[job.item]], job.window.start)
                for job in jobs
            ]
            labels = jnp.asarray(np.concatenate(vectors), jnp.int32)
        return WindowInputs(
            codes=stack_rows(rows, config.seq_len),
            upper_codes=upper_codes,
            labels=labels,
            start=jnp.int32(window.fixed),
            stop=jnp.int32(window.stop),
            offset=jnp.asarray(starts, jnp.int32),
            keys=tracks.keys[items],
            temperature=self._select(settings.temperature, items),
            guidance=self._select(settings.guidance, items) if settings.is_guided else None,
        )

    def _select(self, values: float | tuple[float, ...], items: np.ndarray) -> jax.Array:
        """Returns the value of each of `items`, float32 [R]."""
        each = np.broadcast_to(np.asarray(values, np.float32), len(self.tracks.codes))
        return jnp.asarray(each[items])
