"""Distances of distributions, against answers known by hand and textbook formulas."""

import numpy as np
import pytest

from jukejax.analysis import distribution, fidelity

RATE = 44_100


def split(rows, pieces=1):
    """Splits rows into tracks of as many pieces."""
    return list(rows.reshape(-1, pieces, rows.shape[-1]))


@pytest.mark.parametrize("measure", [distribution.energy_distance, distribution.kernel_distance])
def test_distances_are_unbiased_and_grow_with_a_shift(measure):
    random = np.random.default_rng(0)
    same = [
        measure(split(random.normal(size=(20, 4))), split(random.normal(size=(20, 4))))
        for _ in range(300)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    rows = random.normal(size=(4, 200, 4))
    near, far = (
        measure(split(a + shift), split(b)) for shift, a, b in ((0.5, *rows[:2]), (1.0, *rows[2:]))
    )
    assert 0.05 < near < far
    with pytest.raises(ValueError, match="at least 2"):
        measure([np.ones((9, 4))], split(np.ones((5, 4))))
    with pytest.raises(ValueError, match=r"\[n, E\]"):
        measure(split(np.ones((3, 4))), split(np.ones((5, 3))))


def test_distances_equal_sums_over_pairs_of_different_tracks():
    random = np.random.default_rng(0)
    a, b = ([random.normal(size=(n, 3)) for n in sizes] for sizes in ((2, 1, 3), (2, 2)))

    def mean(compare, first, second, inside):
        pairs = [
            compare(x, y)
            for i, t in enumerate(first)
            for j, u in enumerate(second)
            if not (inside and i == j)
            for x in t
            for y in u
        ]
        return np.mean(pairs)

    for measure, sign, compare in (
        (distribution.energy_distance, -1, lambda x, y: np.linalg.norm(x - y) / np.sqrt(3)),
        (distribution.kernel_distance, 1, lambda x, y: (x @ y / 3 + 1) ** 3),
    ):
        within = mean(compare, a, a, True) + mean(compare, b, b, True)
        expected = sign * (within - 2 * mean(compare, a, b, False))
        assert measure(a, b) == pytest.approx(expected)


def test_mel_statistics_separate_dull_from_bright_sounds():
    random = np.random.default_rng(0)

    def make_segments(width):
        kernel = np.ones(width) / width
        noise = random.normal(0, 0.1, (6, RATE))
        sounds = [np.convolve(x, kernel, "same") for x in noise]
        return np.stack([distribution.mel_statistics(fidelity.log_mel(x, RATE)) for x in sounds])

    dull, dull_again, bright = make_segments(16), make_segments(16), make_segments(1)
    standardize = distribution.Standardizer.fit(dull)
    dull, dull_again, bright = (split(standardize(x)) for x in (dull, dull_again, bright))
    between = distribution.energy_distance(dull, bright)
    assert between > 20 * abs(distribution.energy_distance(dull, dull_again))


def test_an_almost_constant_feature_does_not_dominate():
    standardize = distribution.Standardizer.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    np.testing.assert_allclose(standardize(np.array([[4.0, 9.0]])), [[2.0, 4.0]])
    random = np.random.default_rng(0)
    reference = random.normal(0, [1, 1, 1, 1e-9], (50, 4))
    other = random.normal(0, [1, 1, 1, 1e-2], (50, 4))
    standardize = distribution.Standardizer.fit(reference)
    near = distribution.energy_distance(split(standardize(other)), split(standardize(reference)))
    assert abs(near) < 0.05
