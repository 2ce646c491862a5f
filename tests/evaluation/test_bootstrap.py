"""Bootstrap intervals and floors, against their expectations."""

import numpy as np
import pytest

from jukejax.evaluation import bootstrap


def test_intervals_have_their_nominal_coverage():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap.compute_interval(random.normal(3, 2, 40), draws=300, seed=trial)
        hits += interval.low <= 3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_intervals_of_few_tracks():
    assert bootstrap.compute_interval([None, float("nan")]) is None
    assert bootstrap.compute_interval([None, 2.0]) == bootstrap.Interval(2.0, 2.0, 2.0, 1)
    assert bootstrap.estimate_floor([1.0]) is None
    assert bootstrap.estimate_floor([1.0, 3.0]) == pytest.approx(2.0)


def test_subsets_are_disjoint_and_of_the_size_of_the_other_set():
    for size, expected in ((None, 3), (5, 3), (1, 1)):
        for first, second in bootstrap.split_tracks(7, size=size, draws=20):
            assert (len(first), len(second)) == (expected, 3)
            assert not set(first) & set(second)


def test_the_floor_of_a_single_track_is_the_spread_of_tracks():
    """The mean of one of 100 tracks differs by about a standard deviation, by chance."""
    values = np.random.default_rng(0).normal(size=100)
    one = bootstrap.estimate_floor(values, size=1)
    assert one == pytest.approx(np.sqrt(1 + 1 / 50) * np.sqrt(2 / np.pi), rel=0.2)
    assert one > 4 * bootstrap.estimate_floor(values)


def test_the_floor_shrinks_with_more_tracks():
    random = np.random.default_rng(0)
    few, many = random.normal(size=8), random.normal(size=800)
    # Two halves of n/2 normal figures differ by 2 / sqrt(n) * sqrt(2 / pi) on average.
    assert bootstrap.estimate_floor(many) == pytest.approx(
        2 / np.sqrt(800) * np.sqrt(2 / np.pi), rel=0.25
    )
    assert bootstrap.estimate_floor(few) > 5 * bootstrap.estimate_floor(many)
