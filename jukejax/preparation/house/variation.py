"""Draws the style of one track around the style of its artist: patterns, drum kit and patches."""

from collections.abc import Sequence
from dataclasses import replace

from numpy.random import RandomState

from jukejax.preparation.house.drums import PERC_VOICES, Kit
from jukejax.preparation.house.style import Artist, Patch

GHOST_PLACES = (3, 7, 9, 10, 15)  # sixteenths of soft claps: none on a beat
SHAKERS = ("ogxgogxgogxgogxg", "oggxogxgoggxogxg", "..x...x...x...x.", "g.x.g.xgg.x.g.xg")
RIDES = ("x...x...x...x...", "x.o.x.o.x.o.x.o.", "..x...x...x...x.")


def vary_rhythm(templates: Sequence[str], rng: RandomState, changes: int, fill: str = "o") -> str:
    """Draws a one-bar rhythm: halves of two templates, then `changes` small changes.

    A change moves a stroke by a sixteenth, exchanges a stroke and its neighbor, adds the stroke
    `fill`, or removes a soft one. At least two strokes remain.
    """
    first, last = (templates[rng.randint(len(templates))] for _ in range(2))
    strokes = [*first[:8], *last[8:]]
    for _ in range(changes):
        place, direction, kind = rng.randint(16), (-1, 1)[rng.randint(2)], rng.uniform()
        neighbor = place + direction
        if strokes[place] == ".":
            if kind < 0.5:
                strokes[place] = fill
        elif kind < 0.7 and 0 <= neighbor < 16:
            strokes[place], strokes[neighbor] = strokes[neighbor], strokes[place]
        elif strokes[place] == fill and sum(stroke != "." for stroke in strokes) > 2:
            strokes[place] = "."
    return "".join(strokes)


def _draw_rhythms(templates: Sequence[str], rng: RandomState, count: int) -> tuple[str, ...]:
    """Draws `count` different rhythms."""
    rhythms: list[str] = []
    while len(rhythms) < count:
        rhythm = vary_rhythm(templates, rng, 3)
        if rhythm not in rhythms:
            rhythms.append(rhythm)
    return tuple(rhythms)


def _vary_bass(templates: Sequence[str], rng: RandomState) -> str:
    """Draws a bass line whose first note of each half bar is the root."""
    strokes = list(vary_rhythm(templates, rng, 4, "r"))
    for half in (slice(0, 8), slice(8, 16)):
        notes = [k for k in range(half.start, half.stop) if strokes[k] != "."]
        if notes:
            strokes[notes[0]] = "r"
    return "".join(strokes)


def _add_ghosts(claps: str, rng: RandomState) -> str:
    """Adds up to two soft claps."""
    strokes = list(claps)
    for _ in range(rng.randint(3)):
        strokes[GHOST_PLACES[rng.randint(len(GHOST_PLACES))]] = "g"
    return "".join(strokes)


def _vary_kit(kit: Kit, rng: RandomState) -> Kit:
    perc = kit.perc
    if rng.uniform() < 0.3:
        perc = PERC_VOICES[rng.randint(len(PERC_VOICES))]
    return replace(
        kit,
        kick_hz=kit.kick_hz * rng.uniform(0.95, 1.06),
        kick_sweep=kit.kick_sweep * rng.uniform(0.85, 1.2),
        kick_decay=kit.kick_decay * rng.uniform(0.85, 1.2),
        kick_drive=kit.kick_drive * rng.uniform(0.85, 1.15),
        clap_hz=kit.clap_hz * rng.uniform(0.87, 1.15),
        clap_decay=kit.clap_decay * rng.uniform(0.75, 1.3),
        snare=max(0.0, kit.snare + rng.uniform(-0.15, 0.2)),
        hat_hz=kit.hat_hz * rng.uniform(0.9, 1.1),
        hat_decay=kit.hat_decay * rng.uniform(0.75, 1.35),
        open_decay=kit.open_decay * rng.uniform(0.75, 1.3),
        metal=min(0.9, max(0.1, kit.metal + rng.uniform(-0.15, 0.15))),
        perc=perc,
        perc_tune=rng.uniform(0.85, 1.2),
    )


def _vary_patch(patch: Patch, rng: RandomState) -> Patch:
    steps = patch.echo_steps
    if rng.uniform() < 0.3:
        steps = (2, 3, 4, 6)[rng.randint(4)]
    return Patch(
        brightness=patch.brightness * rng.uniform(0.8, 1.25),
        stab_decay=patch.stab_decay * rng.uniform(0.75, 1.4),
        detune=patch.detune * rng.uniform(0.6, 1.4),
        pad_cutoff=patch.pad_cutoff * rng.uniform(0.7, 1.5),
        bass_cutoff=patch.bass_cutoff * rng.uniform(0.75, 1.3),
        bass_decay=patch.bass_decay * rng.uniform(0.7, 1.3),
        echo_steps=steps,
        echo_feedback=patch.echo_feedback * rng.uniform(0.8, 1.2),
    )


def _choose(names: Sequence[str], rng: RandomState) -> str:
    """Chooses the first name with probability 0.7, else one of the others."""
    return names[0] if rng.uniform() < 0.7 else names[rng.randint(1, len(names))]


def vary_artist(artist: Artist, rng: RandomState) -> Artist:
    """Draws the style of a track: `artist` with other patterns and parameters."""
    arpeggio = artist.arpeggio or (0.5 if rng.uniform() < 0.3 else 0.0)
    return replace(
        artist,
        genres=(artist.genres[rng.randint(len(artist.genres))],),
        kit=_vary_kit(artist.kit, rng),
        patch=_vary_patch(artist.patch, rng),
        stab_rhythms=_draw_rhythms(artist.stab_rhythms, rng, 4),
        basses=(_choose(artist.basses, rng),),
        bass_rhythms=tuple(_vary_bass(artist.bass_rhythms, rng) for _ in range(3)),
        hooks=tuple(_choose(artist.hooks, rng) for _ in range(2)),
        pads=(_choose(artist.pads, rng),),
        hat_rhythms=_draw_rhythms(artist.hat_rhythms, rng, 3),
        perc_rhythms=_draw_rhythms(artist.perc_rhythms, rng, 4),
        clap_rhythms=tuple(_add_ghosts(artist.clap_rhythms[0], rng) for _ in range(3)),
        shaker_rhythms=tuple(SHAKERS[i] for i in rng.permutation(len(SHAKERS))[:2]),
        ride_rhythm=RIDES[rng.randint(len(RIDES))],
        swing=artist.swing * rng.uniform(0.75, 1.2),
        duck=min(0.92, artist.duck * rng.uniform(0.85, 1.15)),
        arpeggio=arpeggio * rng.uniform(0.7, 1.3),
        shaker=artist.shaker * rng.uniform(0.7, 1.3),
        echo=artist.echo * rng.uniform(0.7, 1.3),
    )
