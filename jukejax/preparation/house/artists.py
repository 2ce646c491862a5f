"""The styles of the eight artists of the house corpus: drums, harmony, rhythms and voices.

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


ROSTER = (
    Artist(
        name="Velvet Transit",
        genres=("deep house", "deep house", "soulful house"),
        tempo=(119.0, 123.0),
        kit=Kit(kick_hz=49, kick_decay=0.17, clap_hz=1250, perc="conga"),
        voice=Voice(size=1.16, center=66, vibrato=0.35, breath=0.08),
        moods=("loop", "vamp"),
        color="ninth",
        major=0.2,
        stab="rhodes",
        stab_rhythms=("x..x..x....o..x.", "..x..x....x..o..", "x.....x..o..x..."),
        basses=("sub", "organ"),
        bass_rhythms=("r..r..O...r..s..", "r.....r...f.O...", "..r..rO...r..f.."),
        hooks=("vibes", "pluck"),
        pads=("strings", "saw"),
        hat_rhythms=("o...o...o...o.o.", "..o...o...o.o.o."),
        patch=Patch(brightness=0.9, echo_steps=3),
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
        moods=("loop", "cadence"),
        color="seventh",
        major=0.3,
        stab="organ",
        stab_rhythms=("x..x..x...x..x..", "..x...x..x..x...", "x..o..x..o..x.o."),
        basses=("organ", "reese"),
        bass_rhythms=("r..r..r...O..s..", "r..O..r..r..f.O.", "r.....O..r..s.r."),
        hooks=("reed", "bell"),
        pads=("choir", "saw"),
        hat_rhythms=("o.ooo.ooo.ooo.oo", "o..oo..oo..oo.o."),
        patch=Patch(brightness=1.1, bass_cutoff=1.2),
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
        moods=("vamp",),
        color="seventh",
        major=0.1,
        stab="glass",
        stab_rhythms=("......x.....o...", "...x......x.....", "..........x..o.."),
        basses=("acid", "reese"),
        bass_rhythms=("r.rr.rOr.rr.srr.", "rr.r.rr.Or.rr.sr", ".rr.rr.r.rrOrr.f"),
        hooks=("bell", "pluck"),
        pads=("saw", "choir"),
        hat_rhythms=("ooxoooxoooxoooxo", "oo.oooxooo.oooxo"),
        patch=Patch(stab_decay=0.8, pad_cutoff=700.0),
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
        moods=("loop", "loop", "cadence"),
        color="ninth",
        major=0.25,
        stab="saw",
        stab_rhythms=("x.....o.....x...", "x..o.....x......"),
        basses=("saw", "reese"),
        bass_rhythms=("r.r...r.r...r.O.", "..rr..rr..rr..rO"),
        hooks=("pluck", "bell"),
        pads=("saw", "strings"),
        hat_rhythms=("....o.......o...", "..o.....o...o..."),
        patch=Patch(detune=9.0, pad_cutoff=1300.0, stab_decay=1.3, echo_feedback=0.5),
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
        moods=("cadence", "cadence", "loop"),
        color="ninth",
        major=0.45,
        stab="rhodes",
        stab_rhythms=("x..x...xo.x..x..", "x.ox..x...xo..x.", "..x.x..x..x.x..o"),
        basses=("saw", "organ"),
        bass_rhythms=("r.O.r.Or..O.r.O.", "r..rO..fs..Or.s.", "rrO.r.O.frO.s.O."),
        hooks=("vibes", "reed"),
        pads=("strings", "choir"),
        hat_rhythms=("o.xoo.xoo.xoo.xo", "o.xoo.x.o.xoo.xo"),
        patch=Patch(brightness=1.15, echo_steps=2),
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
        moods=("vamp", "loop"),
        color="seventh",
        major=0.2,
        stab="saw",
        stab_rhythms=("x......x..o.....", "..x.....x..x...."),
        basses=("sub", "reese"),
        bass_rhythms=("r......rO.......", "r...r.....f...s."),
        hooks=("reed", "vibes"),
        pads=("choir", "strings"),
        hat_rhythms=("o.o.o.o.o.o.o.o.", "..o.o.o...o.o.o."),
        patch=Patch(brightness=0.6, detune=12.0, pad_cutoff=600.0, echo_steps=6),
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
        moods=("loop", "cadence"),
        color="triad",
        major=0.4,
        stab="saw",
        stab_rhythms=("x.xx.x.xx.xx.x.o", "x..xx..xx..x.xx.", "..xo..xo..xo..xx"),
        basses=("saw", "organ"),
        bass_rhythms=("r.O.r.O.r.O.s.O.", "r..O.rO.f..O.sO.", "..rO..rO..fO..sO"),
        hooks=("pluck", "reed"),
        pads=("strings", "saw"),
        hat_rhythms=("o.o.o.o.o.o.ooo.", "o.o.ooo.o.o.o.o."),
        patch=Patch(brightness=1.3, bass_cutoff=1.3, echo_steps=4),
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
        moods=("vamp", "cadence"),
        color="ninth",
        major=0.1,
        stab="organ",
        stab_rhythms=("..x.......x.....", "...x..x......o..", "..x..o....x..x.."),
        basses=("sub", "organ"),
        bass_rhythms=("r..O..r.....r.s.", "..r...r..Or...f.", "r.r...O.r.....s."),
        hooks=("vibes", "bell"),
        pads=("choir", "saw"),
        hat_rhythms=("..o...o...o...oo", "..o..oo...o...oo"),
        patch=Patch(brightness=0.8, stab_decay=0.8),
        perc_rhythms=("o..x....o.x..o..", "..x..o..x.....xo"),
        swing=0.25,
        duck=0.65,
        pad=0.9,
        arpeggio=0.35,
        shaker=0.6,
        echo=0.5,
    ),
)
