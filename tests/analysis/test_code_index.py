"""Longest common runs: exact against a slow search, worth what they surprise, in their tracks."""

import numpy as np
import pytest

from jukejax.analysis.code_index import CodeIndex


def slow_longest(query, tracks):
    """The length of the longest piece from each place of `query` that is in any track."""
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
def test_longest_pieces_are_those_of_a_slow_search(size):
    random = np.random.default_rng(size)
    tracks = [random.integers(0, size, n) for n in (40, 1, 0, 25)]
    query = np.concatenate([random.integers(0, size, 20), tracks[0][10:40], [size - 1] * 6])
    index = CodeIndex.build(tracks, size)
    length, at = index.find_longest(query)
    np.testing.assert_array_equal(length, slow_longest(query, tracks))
    for place, (n, there) in enumerate(zip(length, at, strict=True)):
        np.testing.assert_array_equal(query[place : place + n], index.text[there : there + n])


def test_a_run_ends_where_its_track_ends():
    tracks = [np.arange(10), np.arange(10, 20)]
    runs = CodeIndex.build(tracks, 32).find_runs(np.arange(20))
    assert runs.start.tolist() == [0, 10]
    assert runs.length.tolist() == [10, 10]
    assert runs.track.tolist() == [0, 1]
    assert runs.offset.tolist() == [0, 0]


def test_a_copied_run_is_found_at_its_place_whatever_surrounds_it():
    random = np.random.default_rng(0)
    tracks = [random.integers(0, 2048, 5000) for _ in range(4)]
    query = np.concatenate([random.integers(0, 2048, 700), tracks[2][1234:1834], [1, 2, 3]])
    runs = CodeIndex.build(tracks, 2048).find_runs(query, min_bits=100)
    assert runs.start.tolist() == [700]
    assert runs.length.tolist() == [600]
    assert (runs.track[0], runs.offset[0]) == (2, 1234)
    assert runs.bits[0] > 600 * 5


def test_silence_is_no_surprise():
    """A run of one code, however long, is worth less than a short one of rare pairs."""
    random = np.random.default_rng(1)
    tracks = [np.concatenate([random.integers(0, 256, 4000), np.full(20000, 7)])]
    index = CodeIndex.build(tracks, 256)
    silent = index.find_runs(np.full(5000, 7))
    assert silent.length.max() == 5000
    assert silent.bits.max() < 16
    assert index.find_runs(tracks[0][100:110]).bits.max() > 60


def test_chance_gives_runs_of_no_more_bits_than_the_corpus_is_long():
    random = np.random.default_rng(2)
    index = CodeIndex.build([random.integers(0, 64, 1 << 16)], 64)
    bits = index.find_runs(random.integers(0, 64, 4000)).bits
    assert 16 < bits.max() < 40  # log2 of the 2**16 * 4000 pairs of places is 28


def test_long_texts_are_counted_in_blocks_to_the_same(tmp_path):
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


def test_nothing_has_no_runs():
    assert len(CodeIndex.build([], 8).find_runs(np.arange(5)).start) == 0
    assert len(CodeIndex.build([np.arange(5)], 8).find_runs(np.zeros(0, int)).start) == 0
