"""Joins of two windows of codes, computed by hand."""

import numpy as np
import pytest

from jukejax.inference.joins import REACH, find_best_join

LENGTH = 400
LEFT = np.zeros(LENGTH, int)


def make_right(*places):
    """Returns codes that equal LEFT at these places only."""
    right = np.ones(LENGTH, int)
    for place in places:
        right[place] = 0
    return right


def test_join_is_in_the_middle_of_the_only_agreement():
    right = make_right(slice(200, 220))
    assert find_best_join(LEFT, right, 100, 300) == (210, pytest.approx(0.53, abs=0.01))


def test_long_agreement_is_preferred_to_a_short_one():
    right = make_right(slice(120, 150), slice(220, 230))
    assert find_best_join(LEFT, right, 100, 300).place == 135


def test_last_of_equal_places_is_taken():
    assert find_best_join(LEFT, LEFT, 100, 300) == (300, 1.0)
    assert find_best_join(LEFT, make_right(), 100, 300) == (300, 0.0)


def test_share_at_the_end_counts_existing_codes_only():
    """The last codes agree, so the end is as good a place as the middle of an agreement."""
    right = make_right(slice(150, 150 + 2 * REACH), slice(LENGTH - REACH, LENGTH))
    assert find_best_join(LEFT, right, 100, LENGTH).place == LENGTH


def test_join_is_within_the_allowed_range():
    right = make_right(slice(200, 220))
    assert find_best_join(LEFT, right, 215, 300).place == 215
    assert find_best_join(LEFT, right, 100, 205).place == 205


@pytest.mark.parametrize("length", [0, 1, 5])
def test_short_stretches_are_joined(length):
    stretch = np.zeros(length, int)
    assert find_best_join(stretch, stretch, 0, length).place == length
    assert find_best_join(stretch, stretch + 1, length, length).place == length
