"""Window plans, computed by hand and for all small sizes."""

import itertools

import pytest

from jukejax.inference.windows import (
    JoinRange,
    Window,
    find_join_ranges,
    list_window_starts,
    plan_parallel_windows,
    plan_windows,
)

SIZES = [
    (total, seq_len, hop, prompt_len)
    for total, seq_len in itertools.product(range(1, 40), (1, 4, 7, 12))
    for hop in {1, max(seq_len // 2, 1), seq_len}
    for prompt_len in {0, 1, seq_len, total // 2, total}
    if prompt_len <= total
]


def test_every_code_is_sampled_once_and_in_order():
    """Windows leave no gap and no overlap, keep prompts, and fit into `seq_len`."""
    for total, seq_len, hop, prompt_len in SIZES:
        done = prompt_len
        for window in plan_windows(total, seq_len, hop, prompt_len):
            case = f"{total=} {seq_len=} {hop=} {prompt_len=} {window}"
            assert window.start + window.fixed == done, case
            assert 0 <= window.fixed < window.stop <= seq_len, case
            done = window.start + window.stop
        assert done == total, (total, seq_len, hop, prompt_len)


def test_the_last_window_ends_at_the_end():
    for total, seq_len, hop, _ in SIZES:
        if total >= seq_len:
            starts = list_window_starts(total, seq_len, hop)
            assert starts[-1] + seq_len == total
            assert starts == sorted(set(starts))
            assert all(b - a <= hop for a, b in itertools.pairwise(starts))


def test_plan_by_hand():
    """20 codes, windows of 8 every 4, and a prompt of 5: the third window is fixed by two."""
    assert plan_windows(20, 8, 4, prompt_len=5) == [
        Window(0, 5, 8),
        Window(4, 4, 8),
        Window(8, 4, 8),
        Window(12, 4, 8),
    ]
    assert plan_windows(18, 8, 4, prompt_len=0)[-1] == Window(10, 6, 8)  # moved back by two


def test_windows_that_a_prompt_covers_are_left_out():
    assert plan_windows(20, 8, 4, prompt_len=11) == [
        Window(4, 7, 8),
        Window(8, 4, 8),
        Window(12, 4, 8),
    ]
    assert plan_windows(20, 8, 4, prompt_len=20) == []


def test_a_track_shorter_than_a_window_is_one_partial_window():
    assert plan_windows(5, 8, 4) == [Window(0, 0, 5)]
    assert plan_windows(5, 8, 4, prompt_len=2) == [Window(0, 2, 5)]


def test_plan_from_any_finished_window_is_the_rest_of_the_plan():
    """A resumed run plans again from the codes on disk."""
    for total, seq_len, hop, prompt_len in SIZES:
        plan = plan_windows(total, seq_len, hop, prompt_len)
        for number, window in enumerate(plan, start=1):
            done = window.start + window.stop
            assert plan_windows(total, seq_len, hop, done) == plan[number:]


@pytest.mark.parametrize("hop", [0, -1, 9])
def test_a_hop_that_would_leave_gaps_is_refused(hop):
    with pytest.raises(ValueError, match=f"window hop is {hop}, but must lie in 1 to seq_len 8"):
        list_window_starts(20, 8, hop)


def test_parallel_windows_can_be_joined_in_order():
    """A join is behind the window's warm-up, before the end of the window before, and not before
    that window's own join."""
    for total, seq_len, hop in {case[:3] for case in SIZES}:
        starts = list_window_starts(total, seq_len, hop)
        ranges = find_join_ranges(total, seq_len, hop)
        assert ranges[0] == JoinRange(0, 0)
        assert len(ranges) == len(starts)
        for number in range(1, len(starts)):
            end, join = starts[number - 1] + seq_len, ranges[number]
            shared = end - starts[number]
            assert join.first - starts[number] == shared // 2
            assert join.first <= join.last <= end
            assert ranges[number - 1].last <= join.first


def test_join_ranges_by_hand():
    """Windows of 8 every 4 share 4, the last two 6; windows of 8 every 2 are joined before the next
    but one."""
    assert find_join_ranges(18, 8, 4) == [(0, 0), (6, 8), (10, 12), (13, 16)]
    assert find_join_ranges(12, 8, 2) == [(0, 0), (5, 7), (7, 10)]
    assert find_join_ranges(16, 8, 8) == [(0, 0), (8, 8)]


def test_parallel_windows_cover_the_track():
    for total, seq_len, hop, prompt_len in SIZES:
        plan = plan_parallel_windows(total, seq_len, hop, prompt_len)
        starts, done = list_window_starts(total, seq_len, hop), prompt_len
        for number, window in plan.items():
            assert window.start == starts[number]
            assert window.fixed == max(prompt_len - window.start, 0)
            assert 0 <= window.fixed < window.stop <= seq_len
            assert window.start <= done
            done = window.start + window.stop
        assert done == total


def test_single_window_is_the_same_in_both_orders():
    for total, seq_len, hop, prompt_len in SIZES:
        if total <= seq_len and prompt_len < total:
            plan = plan_parallel_windows(total, seq_len, hop, prompt_len)
            assert list(plan.values()) == plan_windows(total, seq_len, hop, prompt_len)


def test_windows_before_one_with_a_whole_warm_up_of_prompt_are_left_out():
    assert list(plan_parallel_windows(20, 8, 4, 9)) == [1, 2, 3]
    assert list(plan_parallel_windows(20, 8, 4, 10)) == [2, 3]
    assert plan_parallel_windows(20, 8, 4, 10)[2] == Window(8, 2, 8)
