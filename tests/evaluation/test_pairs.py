"""Pairs of tracks and their originals."""

import pytest

from jukejax.evaluation import pairs


@pytest.mark.parametrize(
    ("shifts", "text"),
    [
        ([0.0, None], None),
        ([1.0], "1 of 1 input is shifted against its original, each by 1 sample (0.0 ms) later"),
        ([0.0, -441.0], "1 of 2 inputs is shifted against its original, each by 441 samples"),
        ([9.0, 5.0], "2 of 2 inputs are shifted against their originals, the first, a, by 9 sampl"),
    ],
)
def test_shifted_inputs_are_counted(shifts, text):
    line = pairs.describe_shifts(["a", "b"][: len(shifts)], shifts)
    assert line is None if text is None else text in line
