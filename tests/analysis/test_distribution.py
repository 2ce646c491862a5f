"""Distances of distributions, against answers known by hand and textbook formulas."""

import numpy as np
import pytest

from jukejax.analysis import distribution, fidelity

RATE = 44_100


def test_frechet_distance_of_known_gaussians():
    random = np.random.default_rng(0)
    scales = np.array([1.0, 2.0, 0.5])
    a = random.normal(size=(200_000, 3))
    b = random.normal(size=(200_000, 3)) * scales + [1.0, 0.0, -2.0]
    expected = 5 + np.square(scales - 1).sum()
    assert distribution.frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert distribution.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_equals_the_textbook_formula_with_any_number_of_rows():
    import scipy.linalg

    random = np.random.default_rng(0)
    for rows in (30, 5):
        a, b = random.normal(size=(rows, 8)), random.normal(size=(rows + 2, 8)) * 1.5 + 0.3
        distance = distribution.frechet_distance(a, b)
        first, second = np.cov(a.T), np.cov(b.T)
        tiny = 1e-12 * np.eye(8)
        root = scipy.linalg.sqrtm((first + tiny) @ (second + tiny)).real
        shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
        expected = shift + np.trace(first) + np.trace(second) - 2 * np.trace(root)
        assert distance == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_is_unbiased_and_grows_with_a_shift():
    random = np.random.default_rng(0)
    same = [
        distribution.kernel_distance(random.normal(size=(20, 4)), random.normal(size=(20, 4)))
        for _ in range(300)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    near, far = (
        distribution.kernel_distance(
            random.normal(size=(200, 4)) + shift, random.normal(size=(200, 4))
        )
        for shift in (0.5, 1.0)
    )
    assert 0.1 < near < far
    with pytest.raises(ValueError, match="at least 2"):
        distribution.kernel_distance(np.ones((1, 4)), np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"\[N, E\]"):
        distribution.frechet_distance(np.ones((3, 4)), np.ones((5, 3)))


def test_mel_statistics_separate_dull_from_bright_sounds():
    random = np.random.default_rng(0)

    def make_segments(width):
        kernel = np.ones(width) / width
        noise = random.normal(0, 0.1, (6, RATE))
        sounds = [np.convolve(x, kernel, "same") for x in noise]
        return np.stack([distribution.mel_statistics(fidelity.log_mel(x, RATE)) for x in sounds])

    dull, dull_again, bright = make_segments(16), make_segments(16), make_segments(1)
    between = distribution.frechet_distance(dull, bright)
    assert between > 20 * distribution.frechet_distance(dull, dull_again)


def test_an_almost_constant_feature_does_not_dominate():
    standardize = distribution.Standardizer.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    np.testing.assert_allclose(standardize(np.array([[4.0, 9.0]])), [[2.0, 4.0]])
    random = np.random.default_rng(0)
    reference = random.normal(0, [1, 1, 1, 1e-9], (50, 4))
    other = random.normal(0, [1, 1, 1, 1e-2], (50, 4))
    standardize = distribution.Standardizer.fit(reference)
    near = distribution.frechet_distance(standardize(other), standardize(reference))
    assert near < 1
