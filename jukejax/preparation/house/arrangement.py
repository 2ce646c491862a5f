"""The arrangement of a house track: sections in whole bars, and the layers of every bar.

Sections last a multiple of four bars where the length of the track allows. Layers enter, leave or
alternate at every fourth bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

# Layers from the first bar of a section, and those that enter or alternate later.
BASES = {
    "intro": {"kick"},
    "build": {"kick", "clap", "hats", "stab"},
    "drop": {"kick", "clap", "hats", "stab", "bass"},
    "break": {"stab", "pad"},
    "outro": {"kick", "hats"},
}
GUESTS = {
    "intro": ("hats", "perc", "stab", "clap"),
    "build": ("perc", "shaker", "pad", "bass"),
    "drop": ("pad", "hook", "perc", "shaker", "arp", "ride"),
    "break": ("arp", "hook", "shaker"),
    "outro": ("bass", "clap", "perc", "stab"),
}
MIN_GUESTS = 3  # of a drop
# Cutoff of the chords' filter at the start and the end of each section, in Hz.
SWEEPS = {
    "intro": (500.0, 1600.0),
    "build": (1000.0, 6000.0),
    "drop": (7000.0, 10000.0),
    "break": (1100.0, 5000.0),
    "outro": (5000.0, 500.0),
}


@dataclass(frozen=True)
class Arrangement:
    """The arrangement of a track.

    Attributes:
      plan: (section, bars) in order.
      layers: the layers of each bar.
      moves: octaves by which the chords' filter is moved, for each bar.
    """

    plan: list[tuple[str, int]]
    layers: list[frozenset[str]]
    moves: list[float]


def plan_sections(bars: int, rng: RandomState | None = None) -> list[tuple[str, int]]:
    """Splits a track of `bars` bars into (section, bars); longer ones have more drops.

    Args:
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
    units = (bars - 1) // unit + 1 if unit > 1 else bars  # the outro has what remains
    shares = [("intro", 3), ("build", 2), ("drop", 6), ("break", 3)]
    if unit == 4 and units < 12:
        shares += [("drop", 6)]
    if units >= 12:
        shares += [("build", 2), ("drop", 6)]
        shares += [("break", 4), ("build", 2), ("drop", 7)] * min(4, (units - 6) // 12)
    shares += [("outro", 2)]
    weights = [share * (rng.uniform(0.8, 1.25) if rng else 1.0) for _, share in shares]
    # Every section gets one unit; each further one is added to the section that is furthest below
    # its share.
    counts = [1] * len(shares)
    for _ in range(units - len(shares)):
        missing = [units * w / sum(weights) - n for w, n in zip(weights, counts, strict=True)]
        counts[int(np.argmax(missing))] += 1
    plan = [(name, unit * count) for (name, _), count in zip(shares, counts, strict=True)]
    plan[-1] = ("outro", plan[-1][1] + bars - unit * units)
    return plan


def _stagger(count: int, guests: Sequence[str]) -> list[frozenset[str]]:
    """Returns the guests that have entered by each of `count` bars, at regular distances."""
    grid = 4 if count >= 8 else 2 if count >= 4 else 1
    entries = {name: k * count // len(guests) // grid * grid for k, name in enumerate(guests)}
    return [frozenset(n for n in guests if entries[n] <= bar) for bar in range(count)]


def _alternate(count: int, guests: Sequence[str], rng: RandomState) -> list[frozenset[str]]:
    """Returns guests of each of `count` bars; one or two enter or leave at every fourth bar."""
    ranked = [guests[i] for i in rng.permutation(len(guests))]
    current = {*ranked[:MIN_GUESTS], "pad" if rng.uniform() < 0.5 else "hook"}
    blocks = []
    for _ in range(0, count, 4):
        blocks.append(frozenset(current))
        for name in (guests[i] for i in rng.permutation(len(guests))[: rng.randint(1, 3)]):
            current ^= {name}
        while len(current) < MIN_GUESTS or current == blocks[-1]:
            current ^= {guests[rng.randint(len(guests))]}
    return [blocks[bar // 4] for bar in range(count)]


def _draw_guests(section: str, count: int, rng: RandomState) -> list[frozenset[str]]:
    guests = GUESTS[section]
    if section == "drop":
        if count < 4:
            return [frozenset(guests)] * count
        return _alternate(count, guests, rng)
    order = [guests[i] for i in rng.permutation(len(guests))]
    if section == "intro":  # a harmony is heard in the second half at the latest
        order = ["hats", *(name for name in order if name != "hats")]
    staggered = _stagger(count, order)
    return staggered[::-1] if section == "outro" else staggered


def _place_voice(plan: list[tuple[str, int]], rng: RandomState) -> list[bool]:
    """Returns for each bar whether the voice sings: in drops and breaks, long ones in part."""
    sings = []
    for section, count in plan:
        if section not in ("drop", "break"):
            sings += [False] * count
        elif count <= 8:
            sings += [True] * count
        else:  # eight bars with and eight without the voice in turn
            first = rng.randint(2)
            sings += [(bar // 8) % 2 == first for bar in range(count)]
    return sings


def arrange(bars: int, rng: RandomState) -> Arrangement:
    """Draws the sections of a track and the layers of its bars."""
    plan = plan_sections(bars, rng)
    layers, moves = [], []
    for section, count in plan:
        for guests in _draw_guests(section, count, rng):
            layers.append(guests | BASES[section])
        span = 0.6 if section == "drop" else 0.25
        blocks = [rng.uniform(-span, span) for _ in range(0, count, 4)]
        moves += [blocks[bar // 4] for bar in range(count)]
    for bar, sings in enumerate(_place_voice(plan, rng)):
        if sings:
            layers[bar] |= {"voice"}
    return Arrangement(plan, layers, moves)
