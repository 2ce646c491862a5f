"""The harmony of a house track: its mode and its chords, drawn from loops of four chords.

A chord is (semitones above the key's root, quality). Every loop begins with the tonic chord or
rests on it for its second half.
"""

from dataclasses import dataclass

from numpy.random import RandomState

QUALITIES = {
    "min": (0, 3, 7),
    "maj": (0, 4, 7),
    "add9": (0, 4, 7, 14),
    "m7": (0, 3, 7, 10),
    "m9": (0, 3, 7, 10, 14),
    "m11": (0, 3, 7, 10, 17),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "7": (0, 4, 7, 10),
    "9": (0, 4, 7, 10, 14),
    "9sus": (0, 5, 7, 10, 14),
}
# Qualities of minor, major and dominant chords by the color of an artist's harmony.
COLORS: dict[str, dict[str, tuple[str, ...]]] = {
    "triad": {"m": ("min", "min", "m7"), "M": ("maj", "maj", "add9"), "D": ("maj", "7")},
    "seventh": {"m": ("m7", "m7", "min"), "M": ("maj7", "add9", "maj"), "D": ("7", "7", "9sus")},
    "ninth": {"m": ("m9", "m7", "m11"), "M": ("maj9", "maj7", "add9"), "D": ("9", "9sus", "7")},
}
NUMERALS: dict[str, dict[str, tuple[int, str]]] = {
    "minor": {
        "i": (0, "m"),
        "bII": (1, "M"),
        "III": (3, "M"),
        "iv": (5, "m"),
        "IV": (5, "D"),
        "v": (7, "m"),
        "V": (7, "D"),
        "VI": (8, "M"),
        "VII": (10, "D"),
    },
    "major": {
        "I": (0, "M"),
        "ii": (2, "m"),
        "iii": (4, "m"),
        "iv": (5, "m"),
        "IV": (5, "M"),
        "V": (7, "D"),
        "vi": (9, "m"),
        "bVII": (10, "M"),
    },
}
TONICS = {"minor": "i", "major": "I"}
# Qualities of a major tonic: with a seventh it would contain the tonic triad of another key.
MAJOR_TONICS = ("maj", "maj", "add9")
# Loops by mood: vamps hardly leave the tonic, loops go round, cadences lead back to it.
LOOPS: dict[str, dict[str, tuple[str, ...]]] = {
    "minor": {
        "vamp": (
            "i i i VII",
            "i i i bII",
            "i i IV IV",
            "i i iv iv",
            "i i III iv",
            "i IV i IV",
            "i i VI VII",
            "i bII i VII",
            "i i iv i",
            "i VII i iv",
        ),
        "loop": (
            "i VI III VII",
            "i VII VI VII",
            "i III VII iv",
            "i v VI iv",
            "i VI i VII",
            "i VII iv VI",
            "i III iv VI",
            "i VI VII v",
            "i iv VI VII",
            "i v iv VII",
            "VI VII i i",
            "VI v i i",
        ),
        "cadence": (
            "i VII VI V",
            "i iv VI V",
            "i VI iv V",
            "i iv v i",
            "i iv VII i",
            "i iv i V",
            "i III iv V",
            "iv V i i",
            "iv v i i",
            "iv VII i i",
        ),
    },
    "major": {
        "vamp": ("I I IV IV", "I IV I V", "I I bVII IV", "I ii I ii", "I I ii IV", "I IV I iv"),
        "loop": (
            "I V vi IV",
            "I vi IV V",
            "I IV vi V",
            "I iii IV V",
            "I iii vi IV",
            "I bVII IV I",
            "I V ii IV",
            "IV V I I",
        ),
        "cadence": (
            "I vi ii V",
            "I IV ii V",
            "I ii V I",
            "I IV iv I",
            "I iii ii V",
            "I ii iii IV",
            "ii V I I",
        ),
    },
}
TURNAROUNDS = {"minor": ("V", "VII", "iv"), "major": ("V", "IV", "ii", "bVII")}
HALVES = 2  # chords are placed on half bars


@dataclass(frozen=True)
class Harmony:
    """The mode of a track and its chords, one for each half bar of a cycle of 4 or 8 bars."""

    mode: str
    chords: tuple[tuple[int, str], ...]

    def chord(self, bar: int, half: int = 0) -> tuple[int, str]:
        """Returns the chord of half a bar: semitones above the root, and quality."""
        return self.chords[(HALVES * bar + half) % len(self.chords)]


def draw_harmony(
    moods: tuple[str, ...], color: str, major_share: float, rng: RandomState
) -> Harmony:
    """Draws mode, loop, qualities and harmonic rhythm of a track.

    Args:
      moods: keys of `LOOPS[mode]`, equally likely.
      major_share: probability of a major key.
    """
    mode = "major" if rng.uniform() < major_share else "minor"
    loops = LOOPS[mode][moods[rng.randint(len(moods))]]
    loop = loops[rng.randint(len(loops))].split()
    # The answer has another last chord, so that eight bars are not twice the same four.
    answer = list(loop)
    starts_on_tonic = loop[0] == TONICS[mode]
    if starts_on_tonic and rng.uniform() < 0.5:
        turnarounds = [name for name in TURNAROUNDS[mode] if name not in loop[2:]]
        answer[3] = turnarounds[rng.randint(len(turnarounds))]
    qualities: dict[str, tuple[int, str]] = {}
    for name in (*loop, *answer):
        degree, family = NUMERALS[mode][name]
        choices = MAJOR_TONICS if name == "I" else COLORS[color][family]
        qualities.setdefault(name, (degree, choices[rng.randint(len(choices))]))
    rhythm = rng.uniform()
    if rhythm < 0.15:  # two chords a bar
        names = [*loop, *answer]
    elif rhythm < 0.7 or not starts_on_tonic:  # one chord a bar
        names = [name for name in (*loop, *answer) for _ in range(HALVES)]
    elif rhythm < 0.85:  # three bars of the tonic, and one of another chord
        names = [name for name in (*3 * [loop[0]], loop[3]) for _ in range(HALVES)]
    else:  # one chord in two bars
        names = [name for name in loop for _ in range(2 * HALVES)]
    return Harmony(mode, tuple(qualities[name] for name in names))
