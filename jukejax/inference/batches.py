"""Windows of many items in batches, as many side by side as the device takes.

A batch has one shape and, of the same places, always the same rows: a run that was killed and goes
on computes what is missing in the very batches of an undisturbed one. Products of other shapes
may differ in their last bits.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jukejax.inference.windows import Window

Parts = dict[tuple[int, int], np.ndarray]


class Job(NamedTuple):
    """A window of one item.

    Attributes:
      item: its place among the items.
      number: of the window in the track.
      window: what is there, and what to draw.
    """

    item: int
    number: int
    window: Window

    @property
    def key(self) -> tuple[int, int]:
        return self.item, self.number


Draw = Callable[[Sequence[Job]], np.ndarray]


class Limit:
    """How many rows a batch may have; half as many whenever the device runs out of memory.

    Attributes:
      rows: at most so many.
    """

    def __init__(self, rows: int):
        self.rows = rows
        self._said = False

    def size(self, places: int) -> int:
        """Rows of the batches that `places` are shared out to, all about as full."""
        return -(-places // -(-places // self.rows))

    def halve(self, size: int) -> None:
        """After a batch of so many rows did not fit.

        Raises:
          ValueError: it was a single row.
        """
        if size == 1:
            raise ValueError(
                "a single window does not fit into the device's memory; take --weights=int8, a "
                "shorter --dtype, or a smaller model"
            )
        if not self._said:
            print(f"no memory for {size} windows side by side: on with fewer", file=sys.stderr)
            self._said = True
        self.rows = -(-size // 2)


def draw_missing(
    places: Sequence[Job | None], parts: Parts, draw: Draw, limit: Limit
) -> Iterator[None]:
    """Draws what `parts` does not hold yet, and yields after each batch.

    Args:
      places: the jobs in their order; None where there is nothing to do, which keeps the others in
        their batches.
      parts: takes {(item, number): int32 [codes that the window has drawn]}.
      draw: int32 [R, codes] of R jobs whose windows have the same `fixed` and `stop`.
      limit: of R.
    """
    while True:
        size = limit.size(len(places))
        runs = (places[begin : begin + size] for begin in range(0, len(places), size))
        batches = (batch for run in runs for batch in _alike(run))
        missing = (batch for batch in batches if any(job.key not in parts for job in batch))
        batch = next(missing, None)
        if batch is None:
            return
        padded = batch + batch[-1:] * (size - len(batch))
        try:
            drawn = draw(padded)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            drawn = None
        if drawn is None:  # out of the handler, which would keep what the failed batch holds
            limit.halve(size)
            continue
        parts.update({job.key: codes for job, codes in zip(batch, drawn, strict=False)})
        yield


def _alike(jobs: Sequence[Job | None]) -> list[list[Job]]:
    """Jobs that can run side by side, together."""
    found: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        if job is not None:
            found.setdefault((job.window.fixed, job.window.stop), []).append(job)
    return list(found.values())
