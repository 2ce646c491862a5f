"""Plans of a level's windows: their positions, and their fixed codes.

Sequential windows (OpenAI's) begin with the codes of the earlier windows. Parallel windows do not
depend on each other: the first codes of a window are a warm-up, which is discarded; the track is
joined from the codes of consecutive windows, with a transition after the warm-up.
"""

from typing import NamedTuple

SCHEDULES = ("sequential", "parallel")  # the orders of windows, see `inference.schedules`


class Window(NamedTuple):
    """One call of the token loop, in codes of its level.

    Attributes:
      start: position of the window in the track.
      fixed: codes at the start of the window that are not sampled.
      stop: end of the codes to sample, counted from the start of the window.
    """

    start: int
    fixed: int
    stop: int


def list_window_starts(total: int, seq_len: int, window_hop: int) -> list[int]:
    """Returns the starts of the windows that cover `total` codes.

    The last window is moved back so that it ends with the track. A track shorter than a window has
    one window, whose end is unused.
    """
    if window_hop < 1 or window_hop > seq_len:
        raise ValueError(f"window hop is {window_hop}, but must lie in 1 to seq_len {seq_len}")
    if total <= seq_len:
        return [0]
    last = total - seq_len
    return [min(start, last) for start in range(0, last + window_hop, window_hop)]


def plan_windows(total: int, seq_len: int, window_hop: int, prompt_len: int = 0) -> list[Window]:
    """Plans the windows for the codes after the first `prompt_len`, in sequential order.

    Args:
      total: codes of the finished track.
      seq_len: codes of a window.
      window_hop: codes between the starts of neighboring windows.
      prompt_len: codes at the start of the track that are fixed.
    """
    plan = []
    end = prompt_len
    for start in list_window_starts(total, seq_len, window_hop):
        stop = min(seq_len, total - start)
        if start + stop > end:
            plan.append(Window(start, max(end - start, 0), stop))
            end = start + stop
    return plan


class JoinRange(NamedTuple):
    """The codes at which a window may be joined to the previous one.

    Attributes:
      first: first code after the warm-up of the window.
      last: end of the previous window, or the first join of the next window but one; included.
    """

    first: int
    last: int


def find_join_ranges(total: int, seq_len: int, window_hop: int) -> list[JoinRange]:
    """Returns the join range of each window of `list_window_starts`.

    Half of the overlap with the previous window is the warm-up, so that both windows have the same
    least context at a join. Later windows are joined later.
    """
    starts = list_window_starts(total, seq_len, window_hop)
    stops = [min(start + seq_len, total) for start in starts]
    first = [0, *((start + stop) // 2 for start, stop in zip(starts[1:], stops, strict=False))]
    last = [0, *map(min, stops, [*first[2:], total])]
    return [JoinRange(*ends) for ends in zip(first, last[: len(first)], strict=True)]


def plan_parallel_windows(
    total: int, seq_len: int, window_hop: int, prompt_len: int = 0
) -> dict[int, Window]:
    """Plans windows of a track that are sampled independently, by index in `list_window_starts`.

    A window that overlaps the prompt begins with the codes of the prompt. The first planned window
    is the last one whose warm-up is completely in the prompt.

    Args:
      total, seq_len, window_hop, prompt_len: as for `plan_windows`.
    """
    if prompt_len >= total:
        return {}
    starts = list_window_starts(total, seq_len, window_hop)
    ranges = find_join_ranges(total, seq_len, window_hop)
    first_index = sum(join_range.first <= prompt_len for join_range in ranges) - 1
    return {
        index: Window(start, max(prompt_len - start, 0), min(seq_len, total - start))
        for index, start in enumerate(starts)
        if index >= first_index
    }
