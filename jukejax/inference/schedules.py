"""The two orders of a level's windows: sequential, or in parallel and then joined.

In parallel every window is sampled from its start: first a warm-up, which is only context, then the
codes of the track. Adjacent windows have the same codes of the level above, and the same noise at
the same position of the track, so that their agreement grows with the position; they are joined at
the position of best agreement. The codes of a window do not depend on the other windows.

The schedules are independent of the model: a function samples the windows.

Dimensions: B items, t codes of a track so far.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jukejax.inference.batches import (
    BatchLimit,
    SampleBatchFn,
    SampledWindows,
    WindowJob,
    sample_missing,
)
from jukejax.inference.joins import find_best_join
from jukejax.inference.windows import (
    SCHEDULES,
    Window,
    find_join_ranges,
    list_window_starts,
    plan_parallel_windows,
    plan_windows,
)

# (jobs whose windows have the same `fixed` and `stop`, codes [B, t] so far) -> sampled codes,
# int32 [R, stop - fixed].
SampleFn = Callable[[Sequence[WindowJob], np.ndarray], np.ndarray]
# (item, first code of a window in the track, share of the surrounding codes that are equal in the
# previous window)
OnJoin = Callable[[int, int, float], None]


class LevelProgress(NamedTuple):
    """The state of an unfinished level; sampling can be resumed from `codes` and `pending`.

    Attributes:
      codes: int32 [B, t], final.
      pending: sampled windows that are not joined yet.
      done: codes sampled so far, of all items, including warm-ups; for progress lines.
      total: codes to sample.
    """

    codes: np.ndarray
    pending: SampledWindows
    done: int
    total: int


class WindowGrid(NamedTuple):
    """The division of a level into windows.

    Attributes:
      total: codes of the finished track.
      seq_len: codes of a window.
      window_hop: codes between the starts of neighboring windows.
    """

    total: int
    seq_len: int
    window_hop: int


def sample_sequential(
    grid: WindowGrid,
    sample_fn: SampleFn,
    *,
    codes: np.ndarray,
    pending: SampledWindows,
    limit: BatchLimit,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """Samples each window after the earlier ones (OpenAI's order).

    Args:
      sample_fn: samples windows.
      codes: int32 [B, t], fixed at the start of each track.
      pending: `LevelProgress.pending` of an interrupted run.
      limit: of the rows of a batch.
      on_join: called at the start of each window.
    """
    indices = {start: index for index, start in enumerate(list_window_starts(*grid))}
    items, sampled = range(len(codes)), dict(pending)
    windows = plan_windows(*grid, codes.shape[1])
    plan = {indices[window.start]: window for window in windows}
    _check_windows(sampled, plan)
    total = _count_codes(plan, len(items))
    for index, window in plan.items():
        jobs = [WindowJob(item, index, window) for item in items]
        if on_join is not None and window.start + window.fixed:
            for item in items:
                on_join(item, window.start + window.fixed, 1.0)
        for _ in sample_missing(jobs, sampled, _fix_codes(sample_fn, codes), limit):
            if any(job.key not in sampled for job in jobs):
                ready = {job.key: sampled[job.key] for job in jobs if job.key in sampled}
                yield LevelProgress(codes, ready, _count_sampled(sampled), total)
        codes = np.concatenate([codes, np.stack([sampled[job.key] for job in jobs])], axis=1)
        yield LevelProgress(codes, {}, _count_sampled(sampled), total)


def sample_parallel(
    grid: WindowGrid,
    sample_fn: SampleFn,
    *,
    codes: np.ndarray,
    pending: SampledWindows,
    limit: BatchLimit,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """Samples all windows independently, in batches of the earliest ones of all items.

    Args:
      grid, sample_fn, codes, pending, limit, on_join: as for `sample_sequential`.
    """
    sampled, oldest = dict(pending), min((index for _, index in pending), default=0)
    prompt_len = _find_prompt_len(grid, codes.shape[1], sampled)
    plan = plan_parallel_windows(*grid, prompt_len)
    plan = {index: window for index, window in plan.items() if index >= oldest}
    _check_windows(sampled, plan)
    jobs = [
        WindowJob(item, index, plan[index]) if index in plan else None
        for index in range(len(list_window_starts(*grid)))
        for item in range(len(codes))
    ]
    joiner = _Joiner(grid, plan, codes, on_join)
    has_sampled = False
    for _ in sample_missing(jobs, sampled, _fix_codes(sample_fn, codes), limit):
        has_sampled = True
        yield joiner.join_complete(sampled)
    if plan and not has_sampled:
        yield joiner.join_complete(sampled)


SAMPLERS = dict(zip(SCHEDULES, (sample_sequential, sample_parallel), strict=True))


class _Joiner:
    """Joins the parallel windows of all items to tracks."""

    def __init__(
        self,
        grid: WindowGrid,
        plan: dict[int, Window],
        codes: np.ndarray,
        on_join: OnJoin | None,
    ):
        """Starts from the fixed codes, int32 [B, t]."""
        self._plan, self._waiting = plan, list(plan)  # indices of windows that are not joined yet
        self._ranges = find_join_ranges(*grid)
        self._settled = codes.shape[1]
        self._codes = np.zeros((len(codes), grid.total), np.int32)
        self._codes[:, : self._settled] = codes
        self._end = 0  # those of the last joined window
        self._last = 0  # index of the last joined window
        self._on_join = on_join

    def join_complete(self, sampled: SampledWindows) -> LevelProgress:
        """Joins the windows that are sampled for all items."""
        items = range(len(self._codes))
        while self._waiting and all((item, self._waiting[0]) in sampled for item in items):
            index = self._waiting.pop(0)
            self._join(index, [sampled[item, index] for item in items])
        # The next window is joined to the last one, which must be kept.
        oldest = self._last if self._waiting else len(self._ranges)
        pending = {key: codes for key, codes in sampled.items() if key[1] >= oldest}
        total = _count_codes(self._plan, len(items))
        codes = self._codes[:, : self._settled].copy()
        return LevelProgress(codes, pending, _count_sampled(sampled), total)

    def _join(self, index: int, sampled: list[np.ndarray]) -> None:
        """Appends a window to the track of each item."""
        window = self._plan[index]
        begin, end = window.start + window.fixed, window.start + window.stop
        for item, codes in enumerate(sampled):
            position, share = self._settled, 1.0
            if self._end:
                previous, right = self._codes[item, begin : self._end], codes[: self._end - begin]
                first, last = self._ranges[index]
                place, share = find_best_join(previous, right, first - begin, last - begin)
                position = begin + place
            if self._on_join is not None and position:
                self._on_join(item, position, share)
            self._codes[item, position:end] = codes[position - begin :]
        is_last = index + 1 == len(self._ranges)
        self._settled = end if is_last else max(self._settled, self._ranges[index + 1].first)
        self._end, self._last = end, index


def _fix_codes(sample_fn: SampleFn, codes: np.ndarray) -> SampleBatchFn:
    """Binds the codes so far to `sample_fn`."""
    return lambda jobs: sample_fn(jobs, codes)


def _find_prompt_len(grid: WindowGrid, num_codes: int, pending: SampledWindows) -> int:
    """Returns the length of the prompt among the first `num_codes` codes.

    In a resumed run they may include codes of joined windows, which are no prompt of other windows.
    `pending` then has the last joined window, whose number of sampled codes determines the length
    of the prompt if the two overlap.
    """
    if not pending:
        return num_codes
    starts = list_window_starts(*grid)
    oldest = min(index for _, index in pending)
    if oldest >= len(starts) or starts[oldest] > num_codes:
        raise ValueError(f"window {oldest} does not belong to a level with {num_codes} codes")
    stop = min(starts[oldest] + grid.seq_len, grid.total)
    return stop - max(len(codes) for (_, index), codes in pending.items() if index == oldest)


def _count_codes(plan: dict[int, Window], num_items: int) -> int:
    return num_items * sum(window.stop - window.fixed for window in plan.values())


def _count_sampled(sampled: SampledWindows) -> int:
    return sum(map(len, sampled.values()))


def _check_windows(sampled: SampledWindows, plan: dict[int, Window]) -> None:
    """Checks that sampled windows are windows of the plan, complete."""
    for (item, index), codes in sampled.items():
        window = plan.get(index)
        if window is None or len(codes) != window.stop - window.fixed:
            raise ValueError(
                f"{len(codes)} codes of window {index} of item {item} do not belong to this "
                "level; start the level again"
            )
