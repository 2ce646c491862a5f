"""Times of words from attention to letters, on attention whose answer is known."""

import itertools

import numpy as np
import pytest

from jukejax.analysis import lyric_times
from jukejax.analysis.lyric_times import TimedWord

SECONDS = 0.01  # of a code


def sing(starts, length, letters, noise=0.0):
    """Attention of codes to the letter that is sung, [length, letters]."""
    rng = np.random.default_rng(0)
    attention = noise * rng.random((length, letters))
    path = np.searchsorted(starts, np.arange(length), side="right") - 1
    attention[np.arange(length), path] += 1.0
    return attention / attention.sum(axis=1, keepdims=True), path


def test_the_path_is_the_best_of_all_that_never_go_back():
    attention = np.random.default_rng(1).random((6, 4))
    paths = [p for p in itertools.product(range(4), repeat=6) if list(p) == sorted(p)]
    best = max(paths, key=lambda p: attention[range(6), p].sum())
    assert lyric_times.find_path(attention).tolist() == list(best)


def test_the_path_is_found_in_noise():
    attention, path = sing([0, 30, 50, 90, 120], 200, 5, noise=1.0)
    estimate = lyric_times.find_path(lyric_times.smooth_attention(attention, SECONDS))
    assert (np.abs(estimate - path) > 0).mean() < 0.05


def test_smoothing_averages_what_there_is():
    attention = np.arange(20.0).reshape(10, 2)
    expected = [attention[max(i - 2, 0) : i + 3].mean(axis=0) for i in range(10)]
    np.testing.assert_allclose(lyric_times.smooth_attention(attention, SECONDS), expected)
    np.testing.assert_allclose(lyric_times.smooth_attention(attention, 1.0), attention)


def test_heads_are_measured_by_the_order_in_which_they_read():
    forward, _ = sing([0, 20, 40, 60], 80, 4)
    heads = np.stack([forward, forward[:, ::-1], np.full((80, 4), 0.25), np.eye(4)[[2] * 80]])
    measured = lyric_times.measure_monotonicity(heads)
    assert measured[0] == pytest.approx(0.75)  # backwards only one of four letters fits
    np.testing.assert_allclose(measured[1:], [-0.75, 0, 0], atol=1e-12)


def test_words_have_the_times_of_their_letters():
    # "la li": letters 0 to 4; nothing is sung until 0.5 s, where attention is spread.
    attention, _ = sing([0, 70, 80, 90, 100], 150, 5)
    attention[:50] = 0.2
    first, second = lyric_times.time_words(
        attention, ["la", "li"], [range(2), range(3, 5)], SECONDS
    )
    assert (first.start, first.end) == pytest.approx((0.5, 0.8), abs=0.03)
    assert (second.start, second.end) == pytest.approx((0.9, 1.5), abs=0.03)
    assert first.confidence > 0.9


def test_words_that_are_not_sung_have_no_length_and_order_is_kept():
    attention, _ = sing([0, 50], 100, 2)
    attention = np.insert(attention, 1, np.zeros((2, 100)), axis=1)  # letters 0, -, -, 3
    words = ["a", "b", "&", "c"]
    timed = lyric_times.time_words(
        attention, words, [range(1), range(1, 3), range(3, 3), range(3, 4)], SECONDS
    )
    assert [word.word for word in timed] == words
    starts = [word.start for word in timed]
    assert starts == sorted(starts)
    assert timed[1].start == timed[1].end == timed[2].end == pytest.approx(0.5, abs=0.03)
    assert timed[3].end == 1.0


def test_a_track_without_letters_has_no_times():
    assert lyric_times.time_words(np.zeros((5, 0)), ["x"], [range(0)], SECONDS) == [
        TimedWord("x", 0.0, 0.0, 0.0)
    ]


def test_errors_are_compared_with_an_even_spread():
    starts = lyric_times.spread_words([range(2), range(3, 5)], 6, 12.0)
    assert starts == [0.0, 6.0]
    errors = lyric_times.TimingErrors.summarize(np.abs(np.array(starts) - [0.25, 7.0]))
    assert (errors.words, errors.within) == (2, 0.5)
    assert errors.median == pytest.approx(0.625)
