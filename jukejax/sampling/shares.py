"""Division of the tracks of many requests among processes, usually one for each host.

A process samples batches of its own on the devices of its host: sampling needs no communication.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax

from jukejax.sampling.plan import TrackPlan


@dataclass(frozen=True)
class Rank:
    """This process among those that share the tracks.

    Attributes:
      index: from 0; process 0 writes the files that belong to all tracks.
      count: of the processes.
    """

    index: int = 0
    count: int = 1

    @property
    def is_writer(self) -> bool:
        """Returns true if this process writes the files that belong to all tracks."""
        return self.index == 0


ALONE = Rank()


def find_rank() -> Rank:
    """Returns the rank of this process, which has joined the others (`runtime.distributed`)."""
    return Rank(jax.process_index(), jax.process_count())


def split_batch(batch: Sequence[int], count: int) -> list[list[int]]:
    """Splits a batch into at most `count` batches, none empty, whose sizes differ by at most 1."""
    count = min(count, len(batch))
    bounds = [len(batch) * part // count for part in range(count + 1)]
    return [list(batch[begin:end]) for begin, end in pairwise(bounds)]


def select_batches(
    batches: Sequence[Sequence[int]], plans: Mapping[int, TrackPlan], rank: Rank
) -> list[int]:
    """Returns the indices of the batches of a process, ascending.

    The longest batch that is left, in codes to sample, is given to the process with the fewest.
    """
    loads = [0] * rank.count
    selected: list[int] = []
    costs = [sum(_count_codes(plans[number]) for number in batch) for batch in batches]
    for index in sorted(range(len(batches)), key=lambda index: -costs[index]):
        owner = loads.index(min(loads))
        loads[owner] += costs[index]
        if owner == rank.index:
            selected.append(index)
    return sorted(selected)


def _count_codes(plan: TrackPlan) -> int:
    state = plan.initial_state
    return sum(state.totals[level] for level in state.levels)
