"""Search for similar fragments: found at any shift, with errors, and only where there are some."""

import numpy as np
import pytest

from jukejax.analysis.code_index import CodeIndex
from jukejax.auditing.code_distance import WINDOWS, Neighbors

SECOND = 344.53125
SIZE, DIMENSIONS = 64, 8


@pytest.fixture(scope="module")
def book():
    return np.random.default_rng(0).normal(size=(SIZE, DIMENSIONS))


def music(random, seconds):
    """Returns codes that each last a while, as those of music do."""
    count = int(seconds * SECOND)
    codes = random.integers(0, SIZE, count)
    return np.repeat(codes, random.integers(1, 12, count))[:count]


@pytest.fixture(scope="module")
def corpus():
    random = np.random.default_rng(1)
    return [music(random, 30) for _ in range(5)]


def replace_codes(codes, share, book, random):
    """Returns codes of which `share` are replaced by the nearest other code."""
    distance = np.square(book[:, None] - book).sum(axis=-1)
    twin = (distance + 1e9 * np.eye(SIZE)).argmin(axis=1)
    return np.where(random.random(len(codes)) < share, twin[codes], codes)


@pytest.mark.parametrize("at", [0, 1000, 3333, 7 * 345 + 13])
def test_a_fragment_with_errors_is_found_at_its_place(at, book, corpus):
    random = np.random.default_rng(at)
    index = CodeIndex.build(corpus, SIZE)
    piece = replace_codes(corpus[3][at : at + int(3.1 * SECOND)], 0.3, book, random)
    assert index.find_runs(piece).length.max() < SECOND  # no long run is exact
    nearest = Neighbors(index, book, SECOND).find_nearest(piece)
    track, offset = index.locate(nearest[3].at)
    assert (track[0], offset[0]) == (3, at)
    assert nearest[3].nearness[0] > 0.6
    assert nearest[9].nearness.max() == -np.inf  # shorter than the window


def test_the_same_codes_have_nearness_1_and_others_much_less(book, corpus):
    random = np.random.default_rng(5)
    near = Neighbors(CodeIndex.build(corpus, SIZE), book, SECOND)
    same = near.find_nearest(corpus[1][500 : 500 + int(10 * SECOND)])
    other = near.find_nearest(music(random, 10))
    for length in WINDOWS:
        there = same[length].nearness > -np.inf
        assert there.sum() == 10 - length
        assert same[length].nearness[there] == pytest.approx(1, abs=1e-5)
    assert other[1].nearness.max() < 0.5
    assert other[9].nearness.max() < other[1].nearness.max()


def test_a_held_code_has_no_nearness(book, corpus):
    index = CodeIndex.build([*corpus, np.full(5000, 9)], SIZE)
    found = Neighbors(index, book, SECOND).find_nearest(np.full(2000, 9))
    assert found[1].nearness.max() == -np.inf


def test_no_fragment_crosses_into_the_next_track(book, corpus):
    """The end of one track followed by the beginning of the next is no fragment of the corpus."""
    index = CodeIndex.build(corpus, SIZE)
    half = int(1.5 * SECOND)
    seam = np.concatenate([corpus[0][-half:], corpus[1][:half]])
    found = Neighbors(index, book, SECOND).find_nearest(np.concatenate([seam, seam[:10]]))
    assert found[3].nearness[0] < 0.9
    assert found[1].nearness[0] == pytest.approx(1, abs=1e-5)


def test_a_corpus_shorter_than_a_second_and_an_empty_query(book):
    near = Neighbors(CodeIndex.build([np.arange(40)], SIZE), book, SECOND)
    assert near.find_nearest(np.arange(1000) % SIZE)[1].nearness.tolist() == [-np.inf, -np.inf]
    assert len(near.find_nearest(np.zeros(10, int))[1].nearness) == 0
