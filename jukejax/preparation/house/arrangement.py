"""The arrangement of a house track: sections in whole bars, and the layers of every bar.

Sections last a multiple of four bars where the length of the track allows. Layers enter, leave or
alternate at every fourth bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import RandomState

from jukejax.data.sections import plan_sections

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
    "break": ("arp", "hook", "shaker", "hats"),
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


def _stagger(count: int, guests: Sequence[str]) -> list[frozenset[str]]:
    """Returns the guests of each of `count` bars: they enter one by one, at regular distances.

    In a section with more blocks of four bars than guests one leaves again in each further block.
    """
    blocks = count // 4
    if blocks > len(guests):
        entered = [frozenset(guests[: k + 1]) for k in range(len(guests))]
        extra = range(blocks + (count % 4 > 0) - len(guests))
        entered += [frozenset(guests) - {guests[k % len(guests)]} for k in extra]
        return [entered[bar // 4] for bar in range(count)]
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


def _draw_guests(
    section: str, count: int, has_arpeggio: bool, rng: RandomState
) -> list[frozenset[str]]:
    guests = [name for name in GUESTS[section] if has_arpeggio or name != "arp"]
    if section == "drop":
        if count < 4:
            return [frozenset(guests)] * count
        return _alternate(count, guests, rng)
    order = [guests[i] for i in rng.permutation(len(guests))]
    if section == "intro":  # the hats lead, and the stabs are not the last
        order = [name for name in order if name not in ("hats", "stab")]
        order = ["hats", *order[:1], "stab", *order[1:]]
    if section == "outro":  # layers leave instead
        blocks = -(-count // 4)
        return _stagger(4 * blocks if blocks > 1 else count, order)[::-1][:count]
    return _stagger(count, order)


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


def arrange(bars: int, has_arpeggio: bool, rng: RandomState) -> Arrangement:
    """Draws the sections of a track and the layers of its bars."""
    plan = plan_sections(bars, rng)
    layers, moves = [], []
    for section, count in plan:
        for guests in _draw_guests(section, count, has_arpeggio, rng):
            layers.append(guests | BASES[section])
        span = 0.6 if section == "drop" else 0.25
        blocks = [rng.uniform(-span, span) for _ in range(0, count, 4)]
        moves += [blocks[bar // 4] for bar in range(count)]
    for bar, sings in enumerate(_place_voice(plan, rng)):
        if sings:
            layers[bar] |= {"voice"}
    return Arrangement(plan, layers, moves)
