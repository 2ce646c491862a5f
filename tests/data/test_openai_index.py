"""OpenAI's item to (track, offset)."""

from tests.support.openai_index import locate, track_ends


def test_tracks_outside_the_bounds_are_left_out():
    kept, ends = track_ends([50, 100, 250.7, 300, 120], 100, 300)
    assert kept == [1, 2, 4]
    assert ends.tolist() == [100, 350, 470]


def test_an_item_over_an_edge_moves_into_the_track_of_its_middle():
    ends = track_ends([250, 250], 0, 1000)[1]
    assert locate(0, 0, ends, 100) == (0, 0)
    assert locate(1, 30, ends, 100) == (0, 130)
    assert locate(2, 0, ends, 100) == (0, 150)  # 200 to 300: its middle is in the first track
    assert locate(2, 10, ends, 100) == (1, 10)  # 210 to 310: in the second
    assert locate(4, 0, ends, 100) == (1, 150)


def test_an_item_larger_than_its_track_has_no_place():
    ends = track_ends([50, 950], 0, 2000)[1]
    assert locate(0, 0, ends, 100) is None
    assert locate(1, 0, ends, 100) == (1, 50)


def test_a_shift_past_a_short_track_has_no_place():
    ends = track_ends([110, 90], 0, 2000)[1]
    assert locate(0, 40, ends, 90) == (0, 0)
    assert locate(0, 80, ends, 100) is None
