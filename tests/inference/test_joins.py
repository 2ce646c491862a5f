"""Where two runs of codes are joined, by hand."""

import numpy as np
import pytest

from jukejax.analysis.joins import REACH, best_join

LENGTH = 400
LEFT = np.zeros(LENGTH, int)


def agreeing(*places):
    """Codes that are LEFT's at these places only."""
    right = np.ones(LENGTH, int)
    for place in places:
        right[place] = 0
    return right


def test_the_join_is_in_the_middle_of_the_only_agreement():
    right = agreeing(slice(200, 220))
    assert best_join(LEFT, right, 100, 300) == (210, pytest.approx(0.53, abs=0.01))


def test_a_long_agreement_beats_a_short_one():
    right = agreeing(slice(120, 150), slice(220, 230))
    assert best_join(LEFT, right, 100, 300).place == 135


def test_of_equals_the_last_is_taken():
    assert best_join(LEFT, LEFT, 100, 300) == (300, 1.0)
    assert best_join(LEFT, agreeing(), 100, 300) == (300, 0.0)


def test_at_the_end_of_the_stretch_only_what_is_there_counts():
    """The last codes agree, so the end itself is as good a place as one amid agreement."""
    right = agreeing(slice(150, 150 + 2 * REACH), slice(LENGTH - REACH, LENGTH))
    assert best_join(LEFT, right, 100, LENGTH).place == LENGTH


def test_only_allowed_places_are_taken():
    right = agreeing(slice(200, 220))
    assert best_join(LEFT, right, 215, 300).place == 215
    assert best_join(LEFT, right, 100, 205).place == 205


@pytest.mark.parametrize("length", [0, 1, 5])
def test_short_stretches_have_joins_too(length):
    stretch = np.zeros(length, int)
    assert best_join(stretch, stretch, 0, length).place == length
    assert best_join(stretch, stretch + 1, length, length).place == length
