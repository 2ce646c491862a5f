"""An artist who is not in the corpus: records in a style that a model of it does not know."""

from jukejax.preparation.house.drums import Kit
from jukejax.preparation.house.singer import Voice
from jukejax.preparation.house.style import Artist, Patch

GUEST = Artist(
    name="Paper Lantern Club",
    genres=("afro house",),
    tempo=(118.0, 122.0),
    kit=Kit(
        kick_hz=46,
        kick_decay=0.16,
        kick_sweep=110,
        clap_hz=800,
        clap_decay=0.05,
        hat_hz=7000,
        hat_decay=0.022,
        metal=0.35,
        perc="conga",
    ),
    voice=Voice(size=1.08, center=59, vibrato=0.3, glide=0.03),
    moods=("vamp", "loop"),
    color="ninth",
    major=0.0,
    stab="glass",
    stab_rhythms=("x..x..x..x..x.x.", "..x..x..x.x..x..", "x.x..x.x..x..x.."),
    basses=("reese", "sub"),
    bass_rhythms=("..r..r....r.r...", "r..r....r..O..r.", "..rr..r...rr..O."),
    hooks=("bell", "pluck"),
    pads=("choir", "strings"),
    hat_rhythms=("..x...x...x...x.", ".ox.oox.oox.oox."),
    perc_rhythms=("x.ox.ox.x.ox.oxo", "xo.xo.x.xo.xo.xx", "x..x.ox.o.x.xo.x"),
    clap_rhythms=("............x...", "....o.......x..o"),
    shaker_rhythms=("xgogxgogxgogxgog",),
    swing=0.12,
    duck=0.5,
    pad=0.8,
    arpeggio=0.5,
    shaker=1.0,
    echo=0.5,
    patch=Patch(brightness=0.8, stab_decay=0.7, echo_steps=3, echo_feedback=0.45),
)
