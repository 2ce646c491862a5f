"""The styles of the eight artists of the house corpus: drums, harmony, rhythms and voices.

Rhythms are strings of sixteenths, one bar each: `.` rest, `o` soft, `x` loud. Bass lines have
notes instead: `r` root, `O` root an octave up, `f` fifth, `s` seventh. Chords are (semitones above
the key's root, quality).
"""

from dataclasses import dataclass

from jukejax.preparation.house.drums import Kit
from jukejax.preparation.house.singer import Voice

QUALITIES = {
    "m7": (0, 3, 7, 10),
    "m9": (0, 3, 7, 10, 14),
    "m11": (0, 3, 10, 14, 17),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "7": (0, 4, 7, 10),
    "9sus": (0, 5, 7, 10, 14),
}


@dataclass(frozen=True)
class Artist:
    """The style of an artist. Gains are relative to the default mix."""

    name: str
    genres: tuple[str, ...]
    tempo: tuple[float, float]  # BPM
    kit: Kit
    voice: Voice
    progressions: tuple[tuple[tuple[int, str], ...], ...]  # one chord a bar, repeated
    stab: str  # rhodes | organ | saw | glass
    stab_rhythms: tuple[str, ...]
    bass: str  # sub | saw | organ | acid
    bass_rhythms: tuple[str, ...]
    hat_rhythm: str
    perc_rhythms: tuple[str, ...]
    swing: float = 0.0  # delay of the odd sixteenths, as a share of a sixteenth
    duck: float = 0.7  # depth of the side chain
    pad: float = 1.0  # gain
    arpeggio: float = 0.0  # gain
    shaker: float = 0.5  # gain
    crackle: float = 0.0  # gain of vinyl noise
    echo: float = 0.35  # gain of the stabs' dotted-eighth echo


ROSTER = (
    Artist(
        name="Velvet Transit",
        genres=("deep house", "deep house", "soulful house"),
        tempo=(119.0, 123.0),
        kit=Kit(kick_hz=49, kick_decay=0.17, clap_hz=1250, perc="conga"),
        voice=Voice(size=1.16, center=66, vibrato=0.35, breath=0.08),
        progressions=(
            ((0, "m9"), (0, "m9"), (5, "m9"), (5, "m9")),
            ((0, "m9"), (8, "maj9"), (3, "maj9"), (10, "7")),
            ((5, "m9"), (7, "m7"), (0, "m9"), (0, "m11")),
        ),
        stab="rhodes",
        stab_rhythms=("x..x..x....o..x.", "..x..x....x..o..", "x.....x..o..x..."),
        bass="sub",
        bass_rhythms=("r..r..O...r..s..", "r.....r...f.O...", "..r..rO...r..f.."),
        hat_rhythm="o...o...o...o.o.",
        perc_rhythms=("..o..x....o.x..o", "x..o..o...x..o.."),
        swing=0.18,
        shaker=0.6,
    ),
    Artist(
        name="Nightbus 38",
        genres=("garage house", "garage house", "deep house"),
        tempo=(125.0, 130.0),
        kit=Kit(
            kick_hz=55,
            kick_decay=0.11,
            kick_sweep=230,
            clap_hz=1900,
            clap_decay=0.05,
            snare=0.6,
            hat_hz=9500,
            hat_decay=0.014,
            open_decay=0.07,
            perc="rim",
        ),
        voice=Voice(size=1.2, center=68, vibrato=0.2, glide=0.015, breath=0.05),
        progressions=(
            ((0, "m7"), (3, "maj7"), (5, "m7"), (10, "7")),
            ((0, "m7"), (0, "m7"), (8, "maj7"), (10, "7")),
        ),
        stab="organ",
        stab_rhythms=("x..x..x...x..x..", "..x...x..x..x...", "x..o..x..o..x.o."),
        bass="organ",
        bass_rhythms=("r..r..r...O..s..", "r..O..r..r..f.O.", "r.....O..r..s.r."),
        hat_rhythm="o.ooo.ooo.ooo.oo",
        perc_rhythms=("...o..o..o....x.", ".o..o...o..o..o."),
        swing=0.3,
        duck=0.5,
        pad=0.5,
        shaker=0.3,
    ),
    Artist(
        name="Concrete Palm",
        genres=("tech house", "tech house", "minimal house"),
        tempo=(124.0, 128.0),
        kit=Kit(
            kick_hz=47,
            kick_decay=0.2,
            kick_drive=2.4,
            clap_hz=1050,
            clap_decay=0.06,
            hat_hz=7600,
            metal=0.6,
            perc="wood",
        ),
        voice=Voice(size=0.98, center=53, vibrato=0.12, glide=0.012, tilt=0.95),
        progressions=(
            ((0, "m7"), (0, "m7"), (0, "m7"), (1, "maj7")),
            ((0, "m7"), (0, "m7"), (3, "m7"), (0, "m7")),
        ),
        stab="glass",
        stab_rhythms=("......x.....o...", "...x......x.....", "..........x..o.."),
        bass="acid",
        bass_rhythms=("r.rr.rOr.rr.srr.", "rr.r.rr.Or.rr.sr", ".rr.rr.r.rrOrr.f"),
        hat_rhythm="ooxoooxoooxoooxo",
        perc_rhythms=("x..o.ox..o.x.o.o", "o.x..o..x.oo.x.."),
        swing=0.1,
        duck=0.6,
        pad=0.25,
        shaker=0.9,
    ),
    Artist(
        name="Sable and Fern",
        genres=("melodic house", "melodic house", "deep house"),
        tempo=(120.0, 124.0),
        kit=Kit(
            kick_hz=48, kick_decay=0.19, clap_hz=1400, clap_decay=0.12, hat_hz=9000, perc="tom"
        ),
        voice=Voice(size=1.12, center=64, vibrato=0.45, glide=0.06, breath=0.14, tilt=1.3),
        progressions=(
            ((0, "m9"), (8, "maj7"), (3, "maj9"), (10, "9sus")),
            ((8, "maj9"), (10, "9sus"), (0, "m9"), (0, "m11")),
        ),
        stab="saw",
        stab_rhythms=("x.....o.....x...", "x..o.....x......"),
        bass="saw",
        bass_rhythms=("r.r...r.r...r.O.", "..rr..rr..rr..rO"),
        hat_rhythm="....o.......o...",
        perc_rhythms=("......x........o", "...o......x....."),
        duck=0.85,
        pad=1.3,
        arpeggio=0.8,
        shaker=0.5,
        echo=0.5,
    ),
    Artist(
        name="Otis Meridian",
        genres=("soulful house", "disco house", "soulful house"),
        tempo=(121.0, 126.0),
        kit=Kit(
            kick_hz=53, kick_decay=0.13, clap_hz=1600, snare=0.35, open_decay=0.15, perc="conga"
        ),
        voice=Voice(size=1.04, center=60, vibrato=0.55, vibrato_hz=5.9, glide=0.035),
        progressions=(
            ((5, "m9"), (10, "7"), (3, "maj9"), (8, "maj9")),
            ((0, "m9"), (5, "m9"), (8, "maj9"), (7, "7")),
        ),
        stab="rhodes",
        stab_rhythms=("x..x...xo.x..x..", "x.ox..x...xo..x.", "..x.x..x..x.x..o"),
        bass="saw",
        bass_rhythms=("r.O.r.Or..O.r.O.", "r..rO..fs..Or.s.", "rrO.r.O.frO.s.O."),
        hat_rhythm="o.xoo.xoo.xoo.xo",
        perc_rhythms=("x..x..oox..x.o.o", "o.xo..x.o.xo.x.x"),
        swing=0.14,
        duck=0.45,
        pad=0.7,
        shaker=0.7,
    ),
    Artist(
        name="Low Tide Society",
        genres=("lo-fi house", "lo-fi house", "deep house"),
        tempo=(115.0, 120.0),
        kit=Kit(
            kick_hz=51,
            kick_drive=3.2,
            kick_decay=0.12,
            clap_hz=950,
            clap_decay=0.13,
            hat_hz=6200,
            hat_decay=0.03,
            metal=0.2,
            perc="tom",
        ),
        voice=Voice(size=1.1, center=62, vibrato=0.25, breath=0.2, tilt=1.4),
        progressions=(
            ((3, "maj7"), (3, "maj7"), (0, "m7"), (0, "m7")),
            ((5, "m7"), (3, "m7"), (0, "m9"), (0, "m9")),
        ),
        stab="saw",
        stab_rhythms=("x......x..o.....", "..x.....x..x...."),
        bass="sub",
        bass_rhythms=("r......rO.......", "r...r.....f...s."),
        hat_rhythm="o.o.o.o.o.o.o.o.",
        perc_rhythms=("..........o..x..", ".....o......o..."),
        swing=0.22,
        duck=0.8,
        crackle=1.0,
        shaker=0.2,
        echo=0.45,
    ),
    Artist(
        name="Kiko Halden",
        genres=("disco house", "disco house", "tech house"),
        tempo=(123.0, 128.0),
        kit=Kit(
            kick_hz=56,
            kick_decay=0.14,
            kick_drive=2.0,
            clap_hz=1500,
            clap_decay=0.08,
            snare=0.25,
            hat_hz=8200,
            open_decay=0.16,
            perc="rim",
        ),
        voice=Voice(size=1.18, center=67, vibrato=0.3, glide=0.02, tilt=1.0),
        progressions=(
            ((0, "m7"), (10, "7"), (8, "maj7"), (7, "7")),
            ((3, "maj7"), (5, "m7"), (0, "m9"), (10, "9sus")),
        ),
        stab="saw",
        stab_rhythms=("x.xx.x.xx.xx.x.o", "x..xx..xx..x.xx.", "..xo..xo..xo..xx"),
        bass="saw",
        bass_rhythms=("r.O.r.O.r.O.s.O.", "r..O.rO.f..O.sO.", "..rO..rO..fO..sO"),
        hat_rhythm="o.o.o.o.o.o.ooo.",
        perc_rhythms=("....x.o.....x.oo", "..o...x...o..xo."),
        swing=0.06,
        duck=0.9,
        pad=0.5,
        shaker=0.4,
    ),
    Artist(
        name="Marlowe Keys",
        genres=("deep house", "minimal house", "garage house"),
        tempo=(117.0, 122.0),
        kit=Kit(
            kick_hz=45,
            kick_decay=0.22,
            kick_sweep=120,
            clap_hz=1150,
            clap_decay=0.07,
            hat_hz=10000,
            hat_decay=0.012,
            open_decay=0.09,
            metal=0.7,
            perc="wood",
        ),
        voice=Voice(size=1.0, center=55, vibrato=0.4, vibrato_hz=5.1, glide=0.045),
        progressions=(
            ((0, "m11"), (0, "m9"), (10, "m9"), (10, "m7")),
            ((0, "m9"), (3, "m9"), (5, "m9"), (3, "m9")),
        ),
        stab="organ",
        stab_rhythms=("..x.......x.....", "...x..x......o..", "..x..o....x..x.."),
        bass="sub",
        bass_rhythms=("r..O..r.....r.s.", "..r...r..Or...f.", "r.r...O.r.....s."),
        hat_rhythm="..o...o...o...oo",
        perc_rhythms=("o..x....o.x..o..", "..x..o..x.....xo"),
        swing=0.25,
        duck=0.65,
        pad=0.9,
        arpeggio=0.35,
        shaker=0.6,
        echo=0.5,
    ),
)
