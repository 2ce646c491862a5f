"""Where one run of codes goes over into another with least to be heard of it.

Two windows that overlap have each drawn the same stretch of a track, told the same and with the
same noise. Where they draw the same codes for a while, each could have gone on as the other does,
and the place between is no seam at all.
"""

from typing import NamedTuple

import numpy as np

REACH = 32  # codes to each side of a join that count, the less the farther away


class Join(NamedTuple):
    """A place in a stretch of codes, before one of them.

    Attributes:
      place: codes of the stretch before it.
      share: of the codes around it, on which both windows agree; near ones count most.
    """

    place: int
    share: float


def best_join(left: np.ndarray, right: np.ndarray, first: int, last: int) -> Join:
    """Where what follows is best taken from `right` instead of `left`.

    It is where the greatest share of the codes around it agree; of equals the last, before which
    both windows have drawn most.

    Args:
      left, right: int [t], the stretch as each window has drawn it.
      first, last: places to choose from, both included.
    """
    if not len(left):
        return Join(0, 0.0)
    weights = np.concatenate([np.arange(1, REACH + 1), np.arange(REACH, 0, -1)])
    agreed, there = (
        np.convolve(codes, weights)[REACH - 1 :][: len(left) + 1]
        for codes in (left == right, np.ones(len(left), int))
    )
    share = (agreed / there)[first : last + 1]
    place = last - int(np.argmax(share[::-1]))
    return Join(place, float(share[place - first]))
