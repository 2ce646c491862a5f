"""Which windows of a level are sampled, in which order, and what each already knows."""

from typing import NamedTuple


class Window(NamedTuple):
    """One run of the token loop, in codes of its level.

    Attributes:
      start: of the window in the track.
      fixed: codes of the window that are already there.
      stop: the window is filled up to here, counted from its start.
    """

    start: int
    fixed: int
    stop: int


def window_starts(total: int, seq_len: int, window_hop: int) -> list[int]:
    """Starts of the windows that cover `total` codes; the last one is moved back to end at the end.

    A track shorter than a window has one window, which stays partly empty.
    """
    if window_hop < 1 or window_hop > seq_len:
        raise ValueError(f"window hop is {window_hop}, but must lie in 1 to seq_len {seq_len}")
    if total <= seq_len:
        return [0]
    last = total - seq_len
    return [min(start, last) for start in range(0, last + window_hop, window_hop)]


def plan_windows(total: int, seq_len: int, window_hop: int, given: int = 0) -> list[Window]:
    """The windows that still have something to sample when the first `given` codes are there.

    Args:
      total: codes of the finished track.
      seq_len: codes a window holds.
      window_hop: codes between the starts of neighbouring windows.
      given: codes at the start of the track that a prompt has fixed.
    """
    plan = []
    done = given
    for start in window_starts(total, seq_len, window_hop):
        stop = min(seq_len, total - start)
        if start + stop > done:
            plan.append(Window(start, max(done - start, 0), stop))
            done = start + stop
    return plan


def partial_window(done: int, new: int, seq_len: int) -> Window:
    """The window that adds `new` codes after `done`, with as much of the past as fits."""
    start = max(done + new - seq_len, 0)
    return Window(start, done - start, done - start + new)
