"""Join of two overlapping windows of codes, at the place where they agree best.

Two windows that overlap have each sampled the same stretch of a track, under the same conditions
and with the same noise. Where they have sampled the same codes for a while, each could continue as
the other does, and the transition is not audible.
"""

from typing import NamedTuple

import numpy as np

REACH = 32  # codes to each side of a join that count, with weights that fall with the distance


class Join(NamedTuple):
    """A place in a stretch of codes at which one window follows another.

    Attributes:
      place: codes of the stretch before it.
      share: weighted share of the codes around it on which both windows agree.
    """

    place: int
    share: float


def find_best_join(left: np.ndarray, right: np.ndarray, first: int, last: int) -> Join:
    """Finds the place from which the codes are best taken from `right` instead of `left`.

    The greatest share of the codes around it agree; among equals it is the last, before which both
    windows have the most context.

    Args:
      left, right: int [t], the stretch as each window has sampled it.
      first, last: places to choose from, both included.
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
