"""The style of an artist of the house corpus: drums, harmony, rhythms and voice.

Rhythms are strings of sixteenths, one bar each: `.` rest, `g` ghost, `o` soft, `x` loud. Bass lines
have notes instead: `r` root, `O` root an octave up, `f` fifth, `s` seventh. `variation` draws the
style of each track around that of its artist.
"""

from dataclasses import dataclass

from jukejax.preparation.house.drums import Kit
from jukejax.preparation.house.singer import Voice


@dataclass(frozen=True)
class Patch:
    """The parameters of an artist's synthesizers; factors are relative to the patch's design."""

    brightness: float = 1.0  # factor of the chords' cutoff and FM index
    stab_decay: float = 1.0  # factor
    detune: float = 7.0  # cents between the saws of chords and pads, halved
    pad_cutoff: float = 1000.0  # Hz
    bass_cutoff: float = 1.0  # factor
    bass_decay: float = 1.0  # factor
    echo_steps: int = 3  # sixteenths
    echo_feedback: float = 0.35


@dataclass(frozen=True)
class Artist:
    """The style of an artist. Gains are relative to the default mix."""

    name: str
    genres: tuple[str, ...]
    tempo: tuple[float, float]  # BPM
    kit: Kit
    voice: Voice
    moods: tuple[str, ...]  # vamp | loop | cadence
    color: str  # triad | seventh | ninth
    major: float  # share of tracks in a major key
    stab: str  # rhodes | organ | saw | glass
    stab_rhythms: tuple[str, ...]
    basses: tuple[str, ...]  # sub | saw | organ | acid | reese; the first on most tracks
    bass_rhythms: tuple[str, ...]
    hooks: tuple[str, ...]  # pluck | vibes | reed | bell
    pads: tuple[str, ...]  # saw | strings | choir
    hat_rhythms: tuple[str, ...]
    perc_rhythms: tuple[str, ...]
    clap_rhythms: tuple[str, ...] = ("....x.......x...",)
    shaker_rhythms: tuple[str, ...] = ("ogxgogxgogxgogxg",)
    ride_rhythm: str = "x...x...x...x..."
    swing: float = 0.0  # delay of the odd sixteenths, as a share of a sixteenth
    duck: float = 0.7  # depth of the side chain
    pad: float = 1.0  # gain
    arpeggio: float = 0.0  # gain
    shaker: float = 0.5  # gain
    crackle: float = 0.0  # gain of vinyl noise
    echo: float = 0.35  # gain of the echo of stabs and hook
    patch: Patch = Patch()
