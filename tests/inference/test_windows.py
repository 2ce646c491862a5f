"""Window plans, by hand and for every small size."""

import itertools

import pytest

from jukejax.inference.windows import (
    Crossing,
    Window,
    crossings,
    partial_window,
    plan_windows,
    window_starts,
    windows_side_by_side,
)

SIZES = [
    (total, seq_len, hop, given)
    for total, seq_len in itertools.product(range(1, 40), (1, 4, 7, 12))
    for hop in {1, max(seq_len // 2, 1), seq_len}
    for given in {0, 1, seq_len, total // 2, total}
    if given <= total
]


def test_every_code_is_sampled_once_and_in_order():
    """No gap, nothing twice; prompts are left alone; each window fits and knows what it says."""
    for total, seq_len, hop, given in SIZES:
        done = given
        for window in plan_windows(total, seq_len, hop, given):
            case = f"{total=} {seq_len=} {hop=} {given=} {window}"
            assert window.start + window.fixed == done, case
            assert 0 <= window.fixed < window.stop <= seq_len, case
            done = window.start + window.stop
        assert done == total, (total, seq_len, hop, given)


def test_the_last_window_ends_at_the_end():
    for total, seq_len, hop, _ in SIZES:
        if total >= seq_len:
            starts = window_starts(total, seq_len, hop)
            assert starts[-1] + seq_len == total
            assert starts == sorted(set(starts))
            assert all(b - a <= hop for a, b in itertools.pairwise(starts))


def test_a_plan_by_hand():
    """20 codes, windows of 8 every 4, and a prompt of 5: the third window fixes what two left."""
    assert plan_windows(20, 8, 4, given=5) == [
        Window(0, 5, 8),
        Window(4, 4, 8),
        Window(8, 4, 8),
        Window(12, 4, 8),
    ]
    assert plan_windows(18, 8, 4, given=0)[-1] == Window(10, 6, 8)  # moved back by two


def test_windows_that_a_prompt_covers_are_left_out():
    assert plan_windows(20, 8, 4, given=11) == [Window(4, 7, 8), Window(8, 4, 8), Window(12, 4, 8)]
    assert plan_windows(20, 8, 4, given=20) == []


def test_a_track_shorter_than_a_window_is_one_partial_window():
    assert plan_windows(5, 8, 4) == [Window(0, 0, 5)]
    assert plan_windows(5, 8, 4, given=2) == [Window(0, 2, 5)]


def test_going_on_from_any_finished_window_is_the_rest_of_the_plan():
    """A killed run plans again from what is on disk."""
    for total, seq_len, hop, given in SIZES:
        plan = plan_windows(total, seq_len, hop, given)
        for number, window in enumerate(plan, start=1):
            done = window.start + window.stop
            assert plan_windows(total, seq_len, hop, done) == plan[number:]


@pytest.mark.parametrize("hop", [0, -1, 9])
def test_a_hop_that_would_leave_gaps_is_refused(hop):
    with pytest.raises(ValueError, match=f"window hop is {hop}, but must lie in 1 to seq_len 8"):
        window_starts(20, 8, hop)


def test_a_track_that_grows_keeps_as_much_of_its_past_as_fits():
    assert partial_window(0, 3, 8) == Window(0, 0, 3)
    assert partial_window(3, 4, 8) == Window(0, 3, 7)
    assert partial_window(7, 4, 8) == Window(3, 4, 8)
    assert partial_window(20, 8, 8) == Window(20, 0, 8)


def test_windows_side_by_side_can_be_joined_in_order():
    """A window is crossed to behind its warm-up, before the one before it ends, and not before that
    one was crossed to."""
    for total, seq_len, hop in {case[:3] for case in SIZES}:
        starts, ways = window_starts(total, seq_len, hop), crossings(total, seq_len, hop)
        assert ways[0] == Crossing(0, 0)
        assert len(ways) == len(starts)
        for number in range(1, len(starts)):
            end, way = starts[number - 1] + seq_len, ways[number]
            shared = end - starts[number]
            assert way.first - starts[number] == shared // 2
            assert way.first <= way.last <= end
            assert ways[number - 1].last <= way.first


def test_crossings_by_hand():
    """Windows of 8 every 4 share 4, the last two 6 of them; windows of 8 every 2 are crossed to
    before the next but one is."""
    assert crossings(18, 8, 4) == [(0, 0), (6, 8), (10, 12), (13, 16)]
    assert crossings(12, 8, 2) == [(0, 0), (5, 7), (7, 10)]
    assert crossings(16, 8, 8) == [(0, 0), (8, 8)]


def test_windows_side_by_side_cover_the_track():
    for total, seq_len, hop, given in SIZES:
        plan = windows_side_by_side(total, seq_len, hop, given)
        starts, done = window_starts(total, seq_len, hop), given
        for number, window in plan.items():
            assert window.start == starts[number]
            assert window.fixed == max(given - window.start, 0)
            assert 0 <= window.fixed < window.stop <= seq_len
            assert window.start <= done
            done = window.start + window.stop
        assert done == total


def test_a_window_alone_is_the_same_in_both_orders():
    for total, seq_len, hop, given in SIZES:
        if total <= seq_len and given < total:
            plan = windows_side_by_side(total, seq_len, hop, given)
            assert list(plan.values()) == plan_windows(total, seq_len, hop, given)


def test_windows_whose_next_one_knows_enough_of_the_prompt_are_left_out():
    assert list(windows_side_by_side(20, 8, 4, 9)) == [1, 2, 3]
    assert list(windows_side_by_side(20, 8, 4, 10)) == [2, 3]
    assert windows_side_by_side(20, 8, 4, 10)[2] == Window(8, 2, 8)
