"""The sections of a track, such as intro and drop: names, plans in bars, entries of label vectors.

A plan is a list of (name, bars) in order. The sections of a track are pairs of a name and the
sample at which it starts; each lasts until the next one, or the end of the track.
"""

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState

NAMES = ("", "intro", "verse", "build", "drop", "chorus", "break", "bridge", "solo", "outro")
Plan = list[tuple[str, int]]
Sections = tuple[tuple[str, float], ...]

MOST_BARS = 10_000  # of a section
SHORTEST_PLAN = 12  # bars, of a track with several sections
_BEFORE_ALL = -(1 << 30)  # position of a section that began before the window


def check_name(name: str) -> str:
    """Returns the name of a section.

    Raises:
      ValueError: it is unknown.
    """
    if name not in NAMES[1:]:
        raise ValueError(f"{name!r} is no section; known are {', '.join(NAMES[1:])}")
    return name


def parse_plan(text: str) -> Plan:
    """Parses sections with their bars, such as `intro:4,build:4,drop:8`.

    Raises:
      ValueError: a name is unknown, or a number of bars is no whole number.
    """
    plan = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([a-z]+)\s*:\s*(\d{1,5})\s*", part.lower())
        if match is None or not 1 <= int(match[2]) <= MOST_BARS:
            raise ValueError(
                f"{part.strip()!r} is no section with its bars; write such as intro:4,drop:8"
            )
        plan.append((check_name(match[1]), int(match[2])))
    return plan


def parse_starts(text: str) -> Sections:
    """Parses sections with their starts in seconds, such as `intro@0 drop@31.5`; "" gives none.

    Raises:
      ValueError: a name is unknown, or the starts do not rise from 0 or more.
    """
    starts = []
    for part in text.replace(",", " ").replace(";", " ").split():
        match = re.fullmatch(r"([a-z]+)@(\d+(?:\.\d*)?)", part.lower())
        if match is None:
            raise ValueError(
                f"{part!r} is no section with its start in seconds; write such as intro@0 drop@31.5"
            )
        starts.append((check_name(match[1]), float(match[2])))
    if any(later[1] <= earlier[1] for earlier, later in itertools.pairwise(starts)):
        raise ValueError(f"the starts of the sections {text!r} do not rise")
    return tuple(starts)


def place_plan(plan: Plan, first: float, bar: float) -> Sections:
    """Returns the sections of a plan, in samples.

    Args:
      first: sample at which the plan starts.
      bar: samples of a bar.
    """
    bars = np.cumsum([0, *(count for _, count in plan)])[:-1]
    return tuple(
        (name, first + bar * int(start)) for (name, _), start in zip(plan, bars, strict=True)
    )


def shift_sections(sections: Sections, samples: float) -> Sections:
    """Returns sections counted from the track's sample `samples` on."""
    return tuple((name, start - samples) for name, start in sections)


def scale_sections(sections: Sections, factor: float) -> Sections:
    """Returns sections whose starts are multiplied by a factor."""
    return tuple((name, start * factor) for name, start in sections)


def join_sections(before: Sections, after: Sections, place: float) -> Sections:
    """Returns the sections that start before a sample, then those of a second list from it on."""
    first = [section for section in before if section[1] < place]
    current = [(name, place) for name, start in after if start <= place][-1:]
    return (*first, *current, *(section for section in after if section[1] > place))


def make_entries(sections: Sections, start: int, hop: int, num_sections: int) -> list[int]:
    """Returns the entries of a label vector for a window that begins at sample `start`.

    Args:
      hop: samples of a position.
      num_sections: pairs of entries.

    Returns:
      2 * num_sections numbers: the position from which on a section lasts, and the number of its
      name (0: unknown), for each section from that at the start of the window on. Pairs that are
      not needed repeat the last one. Where there are more sections than pairs, what follows the
      last but one is unknown.
    """
    if not num_sections:
        return []
    places = [(_BEFORE_ALL, 0)]
    for name, first in sections:
        place = math.ceil((first - start) / hop - 0.5)
        if place <= 0:
            places = [(_BEFORE_ALL, NAMES.index(name))]
        else:
            places.append((place, NAMES.index(name)))
    if len(places) > num_sections:
        places = [*places[: num_sections - 1], (places[num_sections - 1][0], 0)]
    places += [places[-1]] * (num_sections - len(places))
    return [entry for place in places for entry in place]


def count_entries(num_sections: int) -> int:
    """Returns the number of entries of `make_entries`."""
    return 2 * num_sections


def plan_sections(bars: int, rng: RandomState | None = None) -> Plan:
    """Splits a house track of `bars` bars into (section, bars); longer ones have more drops.

    Sections last a multiple of four bars where the length of the track allows.

    Args:
      bars: 2 or more.
      rng: varies the shares of the sections; None: the usual ones.

    >>> plan_sections(6)
    [('intro', 1), ('build', 1), ('drop', 2), ('break', 1), ('outro', 1)]
    >>> plan_sections(22)
    [('intro', 4), ('build', 4), ('drop', 4), ('break', 4), ('drop', 4), ('outro', 2)]
    """
    if bars < 5:
        names = {2: "intro drop", 3: "intro drop outro", 4: "intro build drop outro"}
        return [(name, 1) for name in names[bars].split()]
    unit = 4 if bars >= 21 else 2 if bars >= 9 else 1
    is_long = bars >= 48
    # The bars that fill no unit are the end of the outro, and all of it in a short track.
    units = bars // unit if is_long else -(-bars // unit)
    shares = [("intro", 3), ("build", 2), ("drop", 6), ("break", 3)]
    if is_long:
        shares += [("build", 2), ("drop", 6)]
        shares += [("break", 4), ("build", 2), ("drop", 7)] * min(4, (units - 6) // 12)
    elif unit == 4:
        shares += [("drop", 6)]
    shares += [("outro", 2)]
    weights = [share * (rng.uniform(0.8, 1.25) if rng else 1.0) for _, share in shares]
    steps = [2 if is_long and name == "drop" else 1 for name, _ in shares]
    counts = list(steps)
    # A section that is furthest below its share grows, until no unit is left.
    while (rest := units - sum(counts)) > 0:
        missing = [
            units * weight / sum(weights) - count - step / 2 if step <= rest else -np.inf
            for weight, count, step in zip(weights, counts, steps, strict=True)
        ]
        chosen = int(np.argmax(missing))
        counts[chosen] += steps[chosen]
    plan = [(name, unit * count) for (name, _), count in zip(shares, counts, strict=True)]
    plan[-1] = ("outro", plan[-1][1] + bars - unit * units)
    return plan


def draw_plan(bars: int, seeds: Sequence[int]) -> Plan:
    """Draws the sections of a track to sample, the same for the same seeds.

    A track of less than `SHORTEST_PLAN` bars is one drop.
    """
    if bars < SHORTEST_PLAN:
        return [("drop", max(bars, 1))]
    return plan_sections(bars, RandomState(list(seeds)))
