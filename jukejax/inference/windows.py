"""Which windows of a level are sampled, in which order, and what each already knows.

Sequential windows (OpenAI's) begin with what the ones before them have drawn. Windows side by side
know nothing of each other: what a window begins with is a warm-up, drawn only to be thrown away,
and somewhere behind it the track goes over from the window before.
"""

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


class Crossing(NamedTuple):
    """Where a track may go over to a window from the one before it, both ends included.

    Attributes:
      first: codes of the window before this are its warm-up.
      last: the window before ends here, or may hand over to the next but one.
    """

    first: int
    last: int


def crossings(total: int, seq_len: int, window_hop: int) -> list[Crossing]:
    """For each window of `window_starts`, where the track may go over to it.

    Half of what a window shares with the one before is its warm-up, so that each of the two has
    drawn as much again around the last place as around the first. Later windows cross later.
    """
    starts = window_starts(total, seq_len, window_hop)
    stops = [min(start + seq_len, total) for start in starts]
    first = [0, *((start + stop) // 2 for start, stop in zip(starts[1:], stops, strict=False))]
    last = [0, *map(min, stops, [*first[2:], total])]
    return [Crossing(*ends) for ends in zip(first, last[: len(first)], strict=True)]


def windows_side_by_side(
    total: int, seq_len: int, window_hop: int, given: int = 0
) -> dict[int, Window]:
    """The windows to draw when all are drawn at once, by their place in `window_starts`.

    A window that a prompt reaches into begins with that part of it. The first one is the last whose
    whole warm-up is prompt; those before it are left out.

    Args:
      total, seq_len, window_hop, given: as for `plan_windows`.
    """
    if given >= total:
        return {}
    starts = window_starts(total, seq_len, window_hop)
    ways = crossings(total, seq_len, window_hop)
    skipped = sum(way.first <= given for way in ways) - 1
    return {
        number: Window(start, max(given - start, 0), min(seq_len, total - start))
        for number, start in enumerate(starts)
        if number >= skipped
    }


def partial_window(done: int, new: int, seq_len: int) -> Window:
    """The window that adds `new` codes after `done`, with as much of the past as fits."""
    start = max(done + new - seq_len, 0)
    return Window(start, done - start, done - start + new)
