"""Window plans, by hand and for every small size."""

import itertools

import pytest

from jukejax.windows import Window, partial_window, plan_windows, window_starts

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
