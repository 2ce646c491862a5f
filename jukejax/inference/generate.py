"""Sampling of a level with a prior, in batches of windows by one compiled program.

Dimensions: B items, R rows of a batch, t codes of a track.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jukejax.inference import budget
from jukejax.inference.batches import BatchLimit, SampledWindows, WindowJob
from jukejax.inference.conditioning import Labels, PriorWeights, make_window_labels, stack_rows
from jukejax.inference.schedules import SAMPLERS, LevelProgress, OnJoin, WindowGrid
from jukejax.inference.token_loop import NO_FILTER, LogitsFilter
from jukejax.inference.window_program import WindowInputs
from jukejax.inference.window_runners import WindowRunner, choose_runner
from jukejax.inference.windows import SCHEDULES, list_window_starts
from jukejax.models.label_config import list_label_names
from jukejax.models.prior_config import PriorConfig

# Held while a program is started, so that of several threads one compiles it.
_STARTING = threading.Lock()


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
      guided_labels: names of the labels that guidance follows, for each item; (): all, for all.
      logits_filter: top-k and top-p.
      schedule: "sequential" or "parallel" (inference/schedules.py); the same for a single window.
      memory_fraction: share of each device's memory for a batch and the weights.
      max_batch: limit of the rows of a batch; None: as many as fit into the memory.
      devices: that share the rows of a batch, of this host; none: the default device. Weights that
        several devices share stay on these.
    """

    window_hop: int
    temperature: float | tuple[float, ...]
    guidance: float | tuple[float, ...] = 1.0
    guided_labels: tuple[tuple[str, ...], ...] = ()
    logits_filter: LogitsFilter = NO_FILTER
    schedule: str = "sequential"
    memory_fraction: float = 0.8
    max_batch: int | None = None
    devices: tuple[jax.Device, ...] = ()

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
    runner = choose_runner(weights, settings.devices)
    batch = budget.fit_batch(
        config,
        weights,
        weights.decode.dtype,
        settings.memory_fraction,
        runner.num_groups,
        runner.num_shards,
    )
    if settings.is_guided:  # two rows for each window
        batch = batch._replace(rows=max(batch.rows // 2, 1))
    max_rows = batch.rows * runner.num_groups
    if settings.max_batch is not None:
        max_rows = min(max_rows, settings.max_batch)
    sampler = _LevelSampler(config, runner, tracks, settings, batch.chunk)
    return SAMPLERS[settings.schedule](
        grid,
        sampler.sample_batch,
        codes=np.asarray(tracks.codes, np.int32),
        pending=pending or {},
        limit=BatchLimit(max_rows, batch.at_once),
        on_join=on_join,
    )


def _check_grid(config: PriorConfig, grid: WindowGrid) -> None:
    """Checks that windows start at whole codes of the level above."""
    ratio = 1 if config.upper is None else config.upper.ratio
    for start in list_window_starts(*grid):
        if start % ratio:
            raise ValueError(
                f"a window of level {config.level} starts at {start}, which is no multiple of "
                f"{ratio}; change --hop_fraction"
            )


@jax.jit
def _select_keys(keys: jax.Array, items: np.ndarray) -> jax.Array:
    """Returns the PRNG keys of `items`, by one program instead of six."""
    return keys[items]


@dataclass(frozen=True)
class _LevelSampler:
    """Samples batches of a level's windows.

    Attributes:
      runner: has the weights.
      chunk: rows of a pass over whole windows, of each group of devices.
    """

    config: PriorConfig
    runner: WindowRunner
    tracks: LevelTracks
    settings: SamplingSettings
    chunk: int

    def sample_batch(self, jobs: Sequence[WindowJob], codes: np.ndarray) -> np.ndarray:
        """Samples windows with the same `fixed` and `stop`; see `schedules.SampleFn`."""
        window, guided = jobs[0].window, self.settings.is_guided
        division = self.runner.divide(len(jobs))
        count = division.num_devices * division.rows_each
        padded = [*jobs, *[jobs[-1]] * (count - len(jobs))]
        rows = 2 * division.rows_each if guided else division.rows_each
        with _STARTING:
            filled = self.runner.run(
                division,
                self.config,
                self.settings.logits_filter,
                self._make_inputs(padded, codes),
                chunk=None if self.chunk >= rows else self.chunk,
                fresh=self.settings.schedule == "parallel" and not window.fixed,
            )
        return np.asarray(filled)[: len(jobs), window.fixed : window.stop]

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
            labels = jax.device_put(np.concatenate(vectors))
        return WindowInputs(
            codes=stack_rows(rows, config.seq_len),
            upper_codes=upper_codes,
            labels=labels,
            start=jax.device_put(np.int32(window.fixed)),
            stop=jax.device_put(np.int32(window.stop)),
            offset=jax.device_put(np.asarray(starts, np.int32)),
            keys=_select_keys(tracks.keys, items.astype(np.int32)),
            temperature=self._select(settings.temperature, items),
            guidance=self._select(settings.guidance, items) if settings.is_guided else None,
            guided=self._mark_guided(items) if settings.is_guided else None,
        )

    def _select(self, values: float | tuple[float, ...], items: np.ndarray) -> jax.Array:
        """Returns the value of each of `items`, float32 [R]."""
        each = np.broadcast_to(np.asarray(values, np.float32), len(self.tracks.codes))
        return jax.device_put(each[items])

    def _mark_guided(self, items: np.ndarray) -> jax.Array:
        """Returns which of `list_label_names` guidance follows, bool [R, names]."""
        assert self.config.labels is not None
        names, each = list_label_names(self.config.labels), self.settings.guided_labels
        rows = [[not each or name in each[item] for name in names] for item in items]
        return jax.device_put(np.array(rows))
