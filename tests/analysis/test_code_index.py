"""Longest common runs: equal to those of a slow search; information content; locations."""

import numpy as np
import pytest

from jukejax.analysis.code_index import CodeIndex


def find_longest_slowly(query, tracks):
    """Returns for each position of `query` the length of the longest match in any track."""
    best = np.zeros(len(query), int)
    for track in tracks:
        for at in range(len(track)):
            for place in range(len(query)):
                n = 0
                while (
                    place + n < len(query)
                    and at + n < len(track)
                    and query[place + n] == track[at + n]
                ):
                    n += 1
                best[place] = max(best[place], n)
    return best


@pytest.mark.parametrize("size", [2, 5, 60])
def test_longest_matches_equal_those_of_a_slow_search(size):
    random = np.random.default_rng(size)
    tracks = [random.integers(0, size, n) for n in (40, 1, 0, 25)]
    query = np.concatenate([random.integers(0, size, 20), tracks[0][10:40], [size - 1] * 6])
    index = CodeIndex.build(tracks, size)
    length, at = index.find_longest(query)
    np.testing.assert_array_equal(length, find_longest_slowly(query, tracks))
    for place, (n, there) in enumerate(zip(length, at, strict=True)):
        np.testing.assert_array_equal(query[place : place + n], index.text[there : there + n])


def test_a_run_ends_where_its_track_ends():
    tracks = [np.arange(10), np.arange(10, 20)]
    runs = CodeIndex.build(tracks, 32).find_runs(np.arange(20))
    assert runs.start.tolist() == [0, 10]
    assert runs.length.tolist() == [10, 10]
    assert runs.track.tolist() == [0, 1]
    assert runs.offset.tolist() == [0, 0]


def test_a_copied_run_is_found_in_any_context():
    random = np.random.default_rng(0)
    tracks = [random.integers(0, 2048, 5000) for _ in range(4)]
    query = np.concatenate([random.integers(0, 2048, 700), tracks[2][1234:1834], [1, 2, 3]])
    runs = CodeIndex.build(tracks, 2048).find_runs(query, min_bits=100)
    assert runs.start.tolist() == [700]
    assert runs.length.tolist() == [600]
    assert (runs.track[0], runs.offset[0]) == (2, 1234)
    assert runs.bits[0] > 600 * 5


def test_silence_has_little_information():
    """Compares a long run of one code with a short run of rare pairs."""
    random = np.random.default_rng(1)
    tracks = [np.concatenate([random.integers(0, 256, 4000), np.full(20000, 7)])]
    index = CodeIndex.build(tracks, 256)
    silent = index.find_runs(np.full(5000, 7))
    assert silent.length.max() == 5000
    assert silent.bits.max() < 16
    assert index.find_runs(tracks[0][100:110]).bits.max() > 60


def test_random_runs_have_no_more_bits_than_the_log_of_the_corpus_length():
    random = np.random.default_rng(2)
    index = CodeIndex.build([random.integers(0, 64, 1 << 16)], 64)
    bits = index.find_runs(random.integers(0, 64, 4000)).bits
    assert 16 < bits.max() < 40  # log2 of the 2**16 * 4000 pairs of places is 28


def test_blockwise_counting_gives_the_same_result(tmp_path):
    tracks = [np.arange(30) % 7, np.arange(5)]
    index = CodeIndex.build(tracks, 8)
    index.save(tmp_path)
    again = CodeIndex.load(tmp_path, 8)
    query = np.arange(12) % 5
    for mine, theirs in zip(
        index.find_runs(query).__dict__, again.find_runs(query).__dict__, strict=True
    ):
        assert mine == theirs
    np.testing.assert_array_equal(index.find_runs(query).bits, again.find_runs(query).bits)
    np.testing.assert_array_equal(again.track(1), np.arange(5))


def test_empty_queries_and_indexes_have_no_runs():
    assert len(CodeIndex.build([], 8).find_runs(np.arange(5)).start) == 0
    assert len(CodeIndex.build([np.arange(5)], 8).find_runs(np.zeros(0, int)).start) == 0
