"""The score of a house track: the arrangement in whole bars, the time grid, the harmony."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house.artists import Artist
from jukejax.preparation.house.synth import SAMPLE_RATE

# Layers of each section. The lead is in the drops and in the break.
LAYERS = {
    "intro": {"kick", "hats", "perc", "stab"},
    "build": {"kick", "clap", "hats", "shaker", "perc", "stab", "bass", "pad"},
    "drop": {"kick", "clap", "hats", "shaker", "perc", "stab", "bass", "pad", "arp", "ride"},
    "break": {"shaker", "stab", "pad", "arp"},
    "outro": {"kick", "clap", "hats", "perc", "bass"},
}
# Cutoff of the chords' filter at the start and the end of each section, in Hz.
SWEEPS = {
    "intro": (350.0, 1400.0),
    "build": (1000.0, 6000.0),
    "drop": (9000.0, 12000.0),
    "break": (900.0, 5000.0),
    "outro": (5000.0, 400.0),
}


def parse_rhythm(pattern: str) -> list[tuple[int, float]]:
    """Returns (sixteenth, level) of the strokes of a one-bar pattern; see `artists`."""
    return [(i, {"o": 0.55, "x": 1.0}[c]) for i, c in enumerate(pattern) if c != "."]


def plan_sections(bars: int) -> list[tuple[str, int]]:
    """Splits a track of `bars` bars into (section, bars); a long one has two drops.

    >>> plan_sections(6)
    [('intro', 1), ('build', 1), ('drop', 2), ('break', 1), ('outro', 1)]
    """
    if bars < 5:
        names = {2: "intro drop", 3: "intro drop outro", 4: "intro build drop outro"}
        return [(name, 1) for name in names[bars].split()]
    shares = [("intro", 3), ("build", 3), ("drop", 7), ("break", 3), ("outro", 2)]
    if bars >= 20:
        shares = [("intro", 4), ("build", 4), ("drop", 9), ("break", 5), ("drop", 7), ("outro", 3)]
    total = sum(share for _, share in shares)
    # Every section gets one bar; each further bar is added to the section that is furthest below
    # its share.
    plan = {i: 1 for i in range(len(shares))}
    for _ in range(bars - len(shares)):
        missing = [bars * share / total - plan[i] for i, (_, share) in enumerate(shares)]
        plan[int(np.argmax(missing))] += 1
    return [(name, plan[i]) for i, (name, _) in enumerate(shares)]


@dataclass
class Score:
    """Time grid, harmony and layers of a track.

    Attributes:
      root: pitch class of the key.
      plan: (section, bars) in order.
      stream: returns the random generator of an instrument, by name.
      bars: section, index in the section, and bars of the section, for each bar.
    """

    artist: Artist
    bpm: float
    root: int
    plan: list[tuple[str, int]]
    progression: tuple[tuple[int, str], ...]
    stream: Callable[[str], RandomState]
    bars: list[tuple[str, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.bars = [(name, i, count) for name, count in self.plan for i in range(count)]

    @property
    def length(self) -> int:
        """Returns the length in samples."""
        return self.at(len(self.bars), 0)

    @property
    def step(self) -> float:
        """Returns the length of a sixteenth in seconds."""
        return 15.0 / self.bpm

    def at(self, bar: int, sixteenth: float) -> int:
        """Returns the sample of a grid position; odd sixteenths are delayed by the swing."""
        late = self.artist.swing if sixteenth % 2 == 1 else 0.0
        return round((16 * bar + sixteenth + late) * self.step * SAMPLE_RATE)

    def plays(self, layer: str, bar: int) -> bool:
        """Returns true if a layer of `LAYERS` plays in a bar; in long sections some start late."""
        section, i, count = self.bars[bar]
        if section == "intro" and layer in ("perc", "stab") and count > 1:
            return i >= count // 2
        if section == "drop" and layer == "ride":
            return i >= count // 2
        if section == "build" and layer == "bass" and count > 2:
            return i >= count // 2
        if section == "outro" and layer == "bass" and count > 2:
            return i < count - 1
        return layer in LAYERS[section]

    def chord(self, bar: int) -> tuple[int, str]:
        """Returns the chord of a bar: semitones above the root, and quality."""
        return self.progression[bar % len(self.progression)]

    def is_turn(self, bar: int) -> bool:
        """Returns true if a bar is the last of four or of a section, and hence has a fill."""
        _, i, count = self.bars[bar]
        return i % 4 == 3 or i == count - 1
