"""Joins of two overlapping windows of codes at the position of best agreement.

Both windows have samples of the overlap, with the same conditions and noise. Around a position at
which their codes are equal, the transition from one to the other is inaudible.
"""

from typing import NamedTuple

import numpy as np

REACH = 32  # codes compared on each side of a join, with weights that fall with the distance


class Join(NamedTuple):
    """A position in the overlap of two windows at which the second replaces the first.

    Attributes:
      place: codes of the overlap before the join.
      share: weighted share of the surrounding codes that are equal in both windows.
    """

    place: int
    share: float


def find_best_join(left: np.ndarray, right: np.ndarray, first: int, last: int) -> Join:
    """Finds the best position for the transition from the codes of `left` to those of `right`.

    It has the greatest share of equal codes around it; of several, the last is chosen, at which
    both windows have the most context.

    Args:
      left, right: int [t], the codes of the overlap in each window.
      first, last: range of positions, both included.
    """
    if not len(left):
        return Join(0, 0.0)
    weights = np.concatenate([np.arange(1, REACH + 1), np.arange(REACH, 0, -1)])
    agreeing, present = (
        np.convolve(codes, weights)[REACH - 1 :][: len(left) + 1]
        for codes in (left == right, np.ones(len(left), int))
    )
    share = (agreeing / present)[first : last + 1]
    place = last - int(np.argmax(share[::-1]))
    return Join(place, float(share[place - first]))
