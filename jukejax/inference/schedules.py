"""The two orders of a level's windows: one after the other, or all side by side and then joined.

Side by side every window draws from its own start: first a warm-up, which only gives the rest a
past, then what the track takes over. Neighbours are told the same codes of the level above, and a
place of the track has the same noise in both, so that they agree more and more. The track goes over
from one to the next where they agree best. What a window draws does not depend on which others are
drawn with it, before it, or at all.

Nothing here knows the model: windows are drawn by a function.

Dimensions: B items, t codes of a track so far.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jukejax.analysis.joins import best_join
from jukejax.inference.batches import Job, Limit, Parts, draw_missing
from jukejax.inference.windows import (
    Window,
    crossings,
    plan_windows,
    window_starts,
    windows_side_by_side,
)

SCHEDULES = ("sequential", "parallel")
# (jobs whose windows have the same `fixed` and `stop`, codes [B, t] so far) -> what they draw,
# int32 [R, stop - fixed].
DrawAfter = Callable[[Sequence[Job], np.ndarray], np.ndarray]
# (item, code before which a window takes over, share of the codes around it on which it agrees with
# the window before)
OnJoin = Callable[[int, int, float], None]


class LevelProgress(NamedTuple):
    """What is there of a level. With `codes` and `parts` given again, the rest is drawn as it would
    have been.

    Attributes:
      codes: int32 [B, t], final.
      parts: windows that are drawn and not joined yet: {(item, number of the window): int32 [codes
        that it has drawn itself]}.
      done: codes drawn so far, of all items, warm-ups included; only to show how far it is.
      total: codes to draw.
    """

    codes: np.ndarray
    parts: Parts
    done: int
    total: int


class Track(NamedTuple):
    """How a level is cut into windows.

    Attributes:
      total: codes of the finished track.
      seq_len: codes of a window.
      window_hop: codes between the starts of neighbouring windows.
    """

    total: int
    seq_len: int
    window_hop: int


def sequential(
    track: Track,
    draw: DrawAfter,
    *,
    given: np.ndarray,
    parts: Parts,
    limit: Limit,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """Each window begins with what the ones before it have drawn (OpenAI's order).

    Args:
      track: to make.
      draw: draws windows.
      given: int32 [B, t], codes that are there.
      parts: of an earlier run's `LevelProgress`.
      limit: rows of a batch.
      on_join: hears where each window takes over.
    """
    numbers = {start: number for number, start in enumerate(window_starts(*track))}
    items, codes, parts = range(len(given)), given, dict(parts)
    windows = plan_windows(*track, given.shape[1])
    plan = {numbers[window.start]: window for window in windows}
    _check(parts, plan)
    total = _codes_to_draw(plan, len(items))
    for number, window in plan.items():
        jobs = [Job(item, number, window) for item in items]
        if on_join is not None and window.start + window.fixed:
            for item in items:
                on_join(item, window.start + window.fixed, 1.0)
        for _ in draw_missing(jobs, parts, lambda jobs, codes=codes: draw(jobs, codes), limit):
            if any(job.key not in parts for job in jobs):
                waiting = {job.key: parts[job.key] for job in jobs if job.key in parts}
                yield LevelProgress(codes, waiting, _drawn(parts), total)
        codes = np.concatenate([codes, np.stack([parts[job.key] for job in jobs])], axis=1)
        yield LevelProgress(codes, {}, _drawn(parts), total)


def parallel(
    track: Track,
    draw: DrawAfter,
    *,
    given: np.ndarray,
    parts: Parts,
    limit: Limit,
    on_join: OnJoin | None = None,
) -> Iterator[LevelProgress]:
    """All windows at once, in batches of the earliest ones of all items; arguments as `sequential`.

    A run that goes on is given what is joined already as `given`, and cannot tell it from a prompt,
    which windows would have to go on from. But `parts` then holds the last window that was joined,
    and how many codes it has drawn itself says how long the prompt was, if it was reached into.
    """
    starts = window_starts(*track)
    joined = _Joined(track, given, on_join)
    prompt, parts = given.shape[1], dict(parts)
    oldest = min((number for _, number in parts), default=0)
    if parts:
        if oldest >= len(starts) or starts[oldest] > prompt:
            raise ValueError(f"window {oldest} does not belong to a level with {prompt} codes")
        stop = min(starts[oldest] + track.seq_len, track.total)
        prompt = stop - max(len(codes) for (_, n), codes in parts.items() if n == oldest)
    plan = windows_side_by_side(*track, prompt)
    plan = {number: window for number, window in plan.items() if number >= oldest}
    _check(parts, plan)
    places = [
        Job(item, number, plan[number]) if number in plan else None
        for number in range(len(starts))
        for item in range(len(given))
    ]
    total, left = _codes_to_draw(plan, len(given)), list(plan)

    def progress() -> LevelProgress:
        """Joins the windows that every item has."""
        while left and all((item, left[0]) in parts for item in range(len(given))):
            number = left.pop(0)
            joined.add(number, plan[number], [parts[item, number] for item in range(len(given))])
        needed = joined.last if left else len(starts)  # the next window is joined to the last one
        waiting = {key: codes for key, codes in parts.items() if key[1] >= needed}
        return LevelProgress(joined.codes(), waiting, _drawn(parts), total)

    made = False
    for _ in draw_missing(places, parts, lambda jobs: draw(jobs, given), limit):
        made = True
        yield progress()
    if plan and not made:
        yield progress()


class _Joined:
    """The tracks of all items as far as their windows are joined.

    Attributes:
      last: number of the last window joined; 0 before the first.
    """

    def __init__(self, track: Track, given: np.ndarray, on_join: OnJoin | None):
        self._ways = crossings(*track)
        self._settled = given.shape[1]
        self._codes = np.zeros((len(given), track.total), np.int32)
        self._codes[:, : self._settled] = given
        self._end = 0  # of the last window joined
        self._on_join = on_join
        self.last = 0

    def add(self, number: int, window: Window, drawn: list[np.ndarray]) -> None:
        """Goes over to the next window in each item."""
        begin, end = window.start + window.fixed, window.start + window.stop
        for item, new in enumerate(drawn):
            join, share = self._settled, 1.0
            if self._end:
                way, left = self._ways[number], self._codes[item, begin : self._end]
                right = new[: self._end - begin]
                place, share = best_join(left, right, way.first - begin, way.last - begin)
                join = begin + place
            if self._on_join is not None and join:
                self._on_join(item, join, share)
            self._codes[item, join:end] = new[join - begin :]
        whole = number + 1 == len(self._ways)
        self._settled = end if whole else max(self._settled, self._ways[number + 1].first)
        self._end, self.last = end, number

    def codes(self) -> np.ndarray:
        """What no later window changes, int32 [B, t]."""
        return self._codes[:, : self._settled].copy()


def _codes_to_draw(plan: dict[int, Window], items: int) -> int:
    return items * sum(window.stop - window.fixed for window in plan.values())


def _drawn(parts: Parts) -> int:
    return sum(map(len, parts.values()))


def _check(parts: Parts, plan: dict[int, Window]) -> None:
    """Parts must be windows of the plan, whole."""
    for (item, number), codes in parts.items():
        window = plan.get(number)
        if window is None or len(codes) != window.stop - window.fixed:
            raise ValueError(
                f"{len(codes)} codes of window {number} of item {item} do not belong to this "
                "level; begin it anew"
            )
