"""The musical grid of a track: tempo, downbeat, key, sections, and its entries in label vectors.

The metre is 4/4, and the tempo of a track is constant. Positions in a bar, or in a phrase of
several bars, are fixed-point numbers of 32 bits, so that they are exact after hours: the cycle is
2^32 units, and integers wrap at its end.
"""

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from jukejax.data import sections as sections_data

BEATS_PER_BAR = 4
CYCLE_UNITS = 1 << 32
_NUM_ENTRIES = 5  # of a label vector: tempo, key, position in the cycle, its step, first code
TEMPO_TOLERANCE = 0.006  # largest relative difference of a tempo from its rounded value
TEMPO_UNITS = 1000  # of the tempo entry: milli-BPM
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = ("", *(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS))  # 0: unknown
SLOWEST, FASTEST = 20.0, 400.0  # BPM
_FLATS = {"Cb": "B", "Db": "C#", "Eb": "D#", "Fb": "E", "Gb": "F#", "Ab": "G#", "Bb": "A#"}
_SHARPS = {"E#": "F", "B#": "C"}
_CAMELOT = {  # the wheel of DJ software, in fifths: 8A is A minor, 8B C major
    f"{number}{letter}": f"{TONICS[(tonic + 7 * (number - 8)) % 12]} {mode}"
    for letter, mode, tonic in (("A", "minor", 9), ("B", "major", 0))
    for number in range(1, 13)
}


@dataclass(frozen=True)
class Grid:
    """The grid of a track.

    Attributes:
      bpm: tempo; None: unknown, or not constant.
      first_downbeat: sample of the start of a bar, from the start of the track; may be negative, or
        between two samples. None: unknown.
      key: one of `KEYS`; None: unknown.
      sections: (name, first sample) of each section, see `data.sections`; none: unknown.
    """

    bpm: float | None = None
    first_downbeat: float | None = None
    key: str | None = None
    sections: tuple[tuple[str, float], ...] = ()

    def shift(self, samples: float) -> "Grid":
        """Returns the grid from the track's sample `samples` on."""
        downbeat = None if self.first_downbeat is None else self.first_downbeat - samples
        shifted = sections_data.shift_sections(self.sections, samples)
        return replace(self, first_downbeat=downbeat, sections=shifted)

    def scale(self, factor: float) -> "Grid":
        """Returns the grid of the same sound at `factor` times the sample rate."""
        downbeat = None if self.first_downbeat is None else self.first_downbeat * factor
        scaled = sections_data.scale_sections(self.sections, factor)
        return replace(self, first_downbeat=downbeat, sections=scaled)

    def with_sections(self, sections: sections_data.Sections) -> "Grid":
        """Returns the grid with other sections."""
        return replace(self, sections=sections)

    def describe(self) -> dict[str, Any]:
        """Returns the grid as JSON values, without sections if it has none."""
        values = asdict(self)
        if not self.sections:
            del values["sections"]
        return values

    def bar_samples(self, sample_rate: int) -> float:
        """Returns the samples of a bar; the tempo must be known."""
        assert self.bpm is not None
        return BEATS_PER_BAR * 60 * sample_rate / self.bpm

    def make_entries(
        self,
        start: int,
        hop: int,
        sample_rate: int,
        cycle_bars: int = 1,
        num_sections: int = 0,
    ) -> tuple[int, ...]:
        """Returns the entries of a label vector for a window that begins at sample `start`.

        Args:
          hop: samples of a position.
          cycle_bars: bars of a cycle; the first one begins at the first downbeat.
          num_sections: see `data.sections.make_entries`, whose entries are the last ones.

        Returns:
          `count_entries(num_sections)` numbers: tempo in milli-BPM, number of the key, position in
          the cycle at `start` and step from each position to the next, in units of the cycle as
          signed 32-bit integers, and the number of the window's first code in the track; then the
          sections. 0: unknown; a step of 0: the position in the cycle is unknown.
        """
        last = sections_data.make_entries(self.sections, start, hop, num_sections)
        tempo = 0 if self.bpm is None else round(TEMPO_UNITS * self.bpm)
        key = KEYS.index(self.key or "")
        if self.bpm is None or self.first_downbeat is None:
            return tempo, key, 0, 0, start // hop, *last
        cycle = cycle_bars * self.bar_samples(sample_rate)
        position = (start - self.first_downbeat) / cycle % 1.0
        units, step = round(position * CYCLE_UNITS), round(hop / cycle * CYCLE_UNITS)
        return tempo, key, _wrap(units), _wrap(step), start // hop, *last


def merge_grids(first: Grid, second: Grid) -> Grid:
    """Returns the values of the first grid, and those of the second that the first does not have.

    A downbeat belongs to its tempo: that of the second grid is not used with another one.
    """
    bpm = second.bpm if first.bpm is None else first.bpm
    downbeat = first.first_downbeat
    if downbeat is None and bpm == second.bpm:
        downbeat = second.first_downbeat
    return replace(
        second,
        bpm=bpm,
        first_downbeat=downbeat,
        key=first.key or second.key,
        sections=first.sections or second.sections,
    )


def count_entries(num_sections: int) -> int:
    """Returns the number of entries of `Grid.make_entries`."""
    return _NUM_ENTRIES + sections_data.count_entries(num_sections)


@dataclass(frozen=True)
class SourcedGrid:
    """A grid with the origin and the confidence of each of its values.

    Attributes:
      origin: "corpus", "metadata", "tag" or "estimate" of "bpm", "first_downbeat", "key" and
        "sections".
      confidence: of the same, 0 to 1.
      is_constant: false if the tempo was found to change.
    """

    grid: Grid = field(default_factory=Grid)
    origin: dict[str, str] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)
    is_constant: bool = True


def _wrap(units: int) -> int:
    """Returns the signed 32-bit integer that equals `units` modulo the cycle."""
    return int(np.array(units % CYCLE_UNITS, np.uint32).astype(np.int32))


def is_same_tempo(written: float, estimate: float) -> bool:
    """Returns true if a tempo may be the rounded value of an estimate."""
    return abs(written / estimate - 1) <= TEMPO_TOLERANCE


def check_bpm(bpm: float, name: str) -> float:
    """Returns a tempo.

    Args:
      name: of the value, for the message.

    Raises:
      ValueError: it is out of range.
    """
    if not SLOWEST <= bpm <= FASTEST:
        raise ValueError(f"{name}={bpm:g} must be {SLOWEST:g} to {FASTEST:g} beats a minute")
    return bpm


def parse_key(text: str) -> str:
    """Parses a key in one of the usual spellings: `Am`, `A minor`, `F# maj`, `Bbm`, `8A`.

    Returns:
      One of `KEYS`, not "".

    Raises:
      ValueError: it is no key.
    """
    compact = text.strip().replace("♯", "#").replace("♭", "b")
    if compact.upper() in _CAMELOT:
        return _CAMELOT[compact.upper()]
    match = re.fullmatch(
        r"([A-Ga-g])([#b]?)\s*(?:(m|(?i:min|minor|moll))|M|(?i:maj|major|dur)|)", compact
    )
    if match is None:
        raise ValueError(f"{text!r} is no key; write one such as Am, F# minor, Bb major or 8A")
    tonic = match[1].upper() + match[2]
    tonic = _FLATS.get(tonic, _SHARPS.get(tonic, tonic))
    return f"{tonic} {'minor' if match[3] else 'major'}"


def transpose_key(key: str, semitones: int) -> str:
    """Returns one of `KEYS`, not "", some semitones higher."""
    tonic, _, mode = key.partition(" ")
    return f"{TONICS[(TONICS.index(tonic) + semitones) % 12]} {mode}"


def format_key(key: str) -> str:
    """Formats one of `KEYS` as musicians do: "F#m" for "F# minor", "C" for "C major"."""
    tonic, _, mode = key.partition(" ")
    return tonic + ("m" if mode == "minor" else "")
