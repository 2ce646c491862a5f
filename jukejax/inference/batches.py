"""Batches of windows of many items, as large as the device's memory allows.

All batches have one shape, and the assignment of jobs to batches does not depend on interruptions:
a resumed run computes the missing windows in the same batches as an uninterrupted one. Matrix
products of other shapes may differ in their last bits.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from jukejax.inference.windows import Window

# Sampled windows: {(item, index of the window): int32 [codes sampled in it]}.
SampledWindows = dict[tuple[int, int], np.ndarray]


class WindowJob(NamedTuple):
    """A window of one item to sample.

    Attributes:
      item: index of the item.
      window_index: of the window in the track.
      window: its position, and the codes to sample.
    """

    item: int
    window_index: int
    window: Window

    @property
    def key(self) -> tuple[int, int]:
        """The key of the window in `SampledWindows`."""
        return self.item, self.window_index


# Jobs whose windows have the same `fixed` and `stop` -> sampled codes, int32 [R, stop - fixed].
SampleBatchFn = Callable[[Sequence[WindowJob]], np.ndarray]


class BatchLimit:
    """Limits the rows of a batch; the limit is halved when the device runs out of memory.

    Attributes:
      rows: the limit.
      at_once: batches that are computed at a time.
    """

    def __init__(self, rows: int, at_once: int = 1):
        self.rows, self.at_once = rows, at_once
        self._has_warned = False

    def batch_size(self, num_jobs: int) -> int:
        """Returns the rows of the batches of `num_jobs` jobs, which are about equally full.

        There are as many batches as occupy `at_once` of them to the end, if there are enough jobs.
        """
        num_batches = -(-num_jobs // self.rows)
        num_batches = min(-(-num_batches // self.at_once) * self.at_once, num_jobs)
        return -(-num_jobs // num_batches)

    def halve(self, size: int) -> None:
        """Lowers the limit below `size` rows, which did not fit.

        Raises:
          ValueError: `size` is 1.
        """
        if size == 1:
            raise ValueError(
                "a single window does not fit into the device's memory; take --weights=int8, a "
                "shorter --dtype, or a smaller model"
            )
        if not self._has_warned:
            print(
                f"no memory for {size} windows in one batch: continuing with smaller batches",
                file=sys.stderr,
            )
            self._has_warned = True
        self.rows = -(-size // 2)


def sample_missing(
    jobs: Sequence[WindowJob | None],
    sampled: SampledWindows,
    sample_batch: SampleBatchFn,
    limit: BatchLimit,
) -> Iterator[None]:
    """Samples the windows that are missing in `sampled`, and adds them; yields after each batch.

    Args:
      jobs: in order; None stands for a window that is not sampled, so that the others keep their
        batches.
      limit: of the rows of a batch.
    """
    while True:
        size = limit.batch_size(len(jobs))
        groups = (jobs[begin : begin + size] for begin in range(0, len(jobs), size))
        batches = (batch for group in groups for batch in _group_by_shape(group))
        missing = [batch for batch in batches if any(job.key not in sampled for job in batch)]
        padded = [batch + batch[-1:] * (size - len(batch)) for batch in missing]
        results = _map_in_threads(sample_batch, padded, limit.at_once)
        try:
            for batch, codes in zip(missing, results, strict=True):
                sampled.update({job.key: row for job, row in zip(batch, codes, strict=False)})
                yield
            return
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
        limit.halve(size)  # not in the handler: its traceback keeps the batch's arrays


def _map_in_threads(
    sample_batch: SampleBatchFn, batches: Sequence[list[WindowJob]], at_once: int
) -> Iterator[np.ndarray]:
    """Yields the codes of each batch, in order; several at a time are computed in threads."""
    if at_once == 1 or len(batches) == 1:
        yield from map(sample_batch, batches)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(sample_batch, batches)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _group_by_shape(jobs: Sequence[WindowJob | None]) -> list[list[WindowJob]]:
    """Groups jobs that can share a batch: those with the same `fixed` and `stop`."""
    groups: dict[tuple[int, int], list[WindowJob]] = {}
    for job in jobs:
        if job is not None:
            groups.setdefault((job.window.fixed, job.window.stop), []).append(job)
    return list(groups.values())
