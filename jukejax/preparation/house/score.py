"""The score of a house track: time grid, harmony, and the layers that play in each bar."""

from collections.abc import Callable
from dataclasses import dataclass, field

from numpy.random import RandomState

from jukejax.preparation.house.arrangement import Arrangement
from jukejax.preparation.house.harmony import Harmony
from jukejax.preparation.house.style import Artist
from jukejax.preparation.house.synth import SAMPLE_RATE

LEVELS = {"g": 0.3, "o": 0.55, "x": 1.0}


def parse_rhythm(pattern: str) -> list[tuple[int, float]]:
    """Returns (sixteenth, level) of the strokes of a one-bar pattern; see `artists`."""
    return [(i, LEVELS[c]) for i, c in enumerate(pattern) if c != "."]


@dataclass
class Score:
    """Time grid, harmony and layers of a track.

    Attributes:
      artist: with the patterns and parameters of this track; see `variation`.
      root: pitch class of the key.
      stream: returns the random generator of an instrument, by name.
      bars: section, index in the section, and bars of the section, for each bar.
      phrases: for each bar, the number of phrases of eight bars, which begin with the sections.
    """

    artist: Artist
    bpm: float
    root: int
    harmony: Harmony
    arrangement: Arrangement
    stream: Callable[[str], RandomState]
    bars: list[tuple[str, int, int]] = field(init=False)
    phrases: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.bars = [(name, i, count) for name, count in self.plan for i in range(count)]
        self.phrases, phrase = [], -1
        for _, i, _ in self.bars:
            phrase += i % 8 == 0
            self.phrases.append(phrase)

    @property
    def plan(self) -> list[tuple[str, int]]:
        """Returns (section, bars) in order."""
        return self.arrangement.plan

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
        """Returns true if a layer plays in a bar."""
        return layer in self.arrangement.layers[bar]

    def chord(self, bar: int, half: int = 0) -> tuple[int, str]:
        """Returns the chord of half a bar: semitones above the root, and quality."""
        return self.harmony.chord(bar, half)

    def is_turn(self, bar: int) -> bool:
        """Returns true if a bar is the last of four or of a section, and hence has a fill."""
        _, i, count = self.bars[bar]
        return i % 4 == 3 or i == count - 1
