"""Music that is no house, of the same machines: the control for figures that claim to know house.

Six styles, drums of the embedded kits: none puts a kick on every beat and on nothing else. Tempo
and style of each track are known. Rhythms are strings of sixteenths as in `artists`; a bar of the
waltz has twelve. The seventh and eighth style have no drums: an arpeggio, and pads without a pulse.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import drums, synth
from jukejax.preparation.house.drums import Kit
from jukejax.preparation.house.harmony import QUALITIES
from jukejax.preparation.house.score import parse_rhythm
from jukejax.preparation.house.synth import SAMPLE_RATE

PEAK = 0.9
SHORTEST = 4.0  # seconds


@dataclass(frozen=True)
class Style:
    """Who plays what in a bar; `bass` and `keys` are rhythms, "" where nobody plays."""

    name: str
    tempo: tuple[float, float]  # BPM
    kicks: tuple[str, ...] = ()  # one bar each, in turn
    snare: str = ""
    hat: str = ""
    perc: str = ""
    bass: str = ""
    keys: str = ""
    swing: float = 0.0
    pad: float = 0.0  # gain


STYLES = (
    Style(
        name="rock",
        tempo=(95.0, 165.0),
        kicks=("x.......x.......", "x.......x.x....."),
        snare="....x.......x...",
        hat="x.o.x.o.x.o.x.o.",
        bass="x.x.x.x.x.x.x.x.",
        keys="x.......x.......",
    ),
    Style(
        name="breakbeat",
        tempo=(125.0, 165.0),
        kicks=("x.x.......xx....", "x.x.......x...x."),
        snare="....x..o.o..x..o",
        hat="x.x.x.x.x.x.x.x.",
        bass="x.....x.x.......",
        keys="x.....x...o.....",
    ),
    Style(
        name="waltz",
        tempo=(90.0, 160.0),
        kicks=("x...........",),
        snare="....o...o...",
        hat="x...x...x...",
        bass="x...........",
        keys="....x...x...",
    ),
    Style(
        name="half-time",
        tempo=(130.0, 160.0),
        kicks=("x.....x.........", "x.........x..x.."),
        snare="........x.......",
        hat="x.o.x.o.x.ooxoox",
        bass="x.....x.........",
        pad=0.5,
    ),
    Style(
        name="funk",
        tempo=(90.0, 115.0),
        kicks=("x..x......x.....", "x.....x...x..x.."),
        snare="....x..o.o..x...",
        hat="x.x.x.x.x.x.x.x.",
        perc="..o..x....o.x..o",
        bass="x..x..o...x..x..",
        keys="..x...x...x...x.",
        swing=0.1,
    ),
    Style(
        name="bossa",
        tempo=(110.0, 150.0),
        kicks=("x.....o.x.....o.",),
        hat="x.x.x.x.x.x.x.x.",
        perc="x..x..x...x..x..",
        bass="x.....x.x.....x.",
        keys="x..x...x..x..x..",
    ),
    Style(name="arpeggio", tempo=(80.0, 150.0), keys="x.o.x.o.x.o.x.o.", pad=0.6),
    Style(name="ambient", tempo=(0.0, 0.0), pad=1.0),
)


@dataclass(frozen=True)
class ControlTrack:
    """A track with its truth; `bpm` is None where there is no pulse."""

    name: str
    style: str
    bpm: float | None
    audio: np.ndarray  # float32 [time, 2], 44.1 kHz


def track(index: int, *, seconds: float = 30.0, seed: int = 0) -> ControlTrack:
    """Plays one track, the same for the same arguments; neighbors are of different styles."""
    if index < 0 or not 0 <= seed < 2**32:
        raise ValueError(f"control track {index} of seed {seed}: both must be 0 or more")
    if seconds < SHORTEST:
        raise ValueError(f"control tracks last {SHORTEST:g} s or more, got {seconds:g}")
    style = STYLES[index % len(STYLES)]
    random = RandomState([seed, index, zlib.crc32(b"control")])
    bpm = round(10 * random.uniform(*style.tempo)) / 10 or None
    length = int(seconds * SAMPLE_RATE)
    left_right = np.zeros((2, length))
    root, minor = int(random.randint(12)), bool(random.randint(2))
    chords = [(root + step) % 12 for step in ((0, 8, 3, 10) if minor else (0, 7, 9, 5))]
    quality = "m7" if minor else "maj7"
    if bpm:
        _play_drums(style, bpm, random, left_right)
        _play_notes(style, bpm, chords, quality, random, left_right)
    if style.pad:
        _play_pads(style.pad, 240.0 / (bpm or 30.0), chords, quality, random, left_right)
    wet = synth.reverb(left_right.mean(axis=0), decay_seconds=1.2, damping=6000.0)
    mixed = synth.soft_clip(1.2 * (left_right + 0.2 * wet))
    mixed *= PEAK * random.uniform(0.8, 1.0) / max(np.abs(mixed).max(), 1e-9)
    sound = np.ascontiguousarray(synth.fade(mixed, 0.002, 0.08).T, np.float32)
    return ControlTrack(f"control-{index:04d}", style.name, bpm, sound)


def _bars(style: Style, bpm: float, length: int):
    """(number of the bar, sample of a sixteenth in it) of every bar."""
    step = 15.0 / bpm * SAMPLE_RATE
    size = len(style.kicks[0]) if style.kicks else 16
    for bar in range(int(length / (size * step)) + 1):
        start = bar * size * step

        def at(sixteenth: int, start: float = start) -> int:
            late = style.swing if sixteenth % 2 else 0.0
            return round(start + (sixteenth + late) * step)

        yield bar, at


def _play_drums(style: Style, bpm: float, random: RandomState, out: np.ndarray) -> None:
    kit = drums.render(
        Kit(
            kick_hz=random.uniform(46, 62),
            kick_decay=random.uniform(0.08, 0.14),
            clap_hz=1700,
            clap_decay=0.06,
            snare=1.0,
            perc=("conga", "rim", "wood", "tom")[random.randint(4)],
        ),
        random,
    )
    parts = (("clap", style.snare, 0.7), ("hat", style.hat, 0.3), ("perc", style.perc, 0.35))
    for bar, at in _bars(style, bpm, out.shape[1]):
        if style.kicks:
            for sixteenth, level in parse_rhythm(style.kicks[bar % len(style.kicks)]):
                hit = 0.62 * level * random.uniform(0.9, 1.0)
                synth.add(out, kit["kick"][0], at(sixteenth), hit)
        for voice, pattern, gain in parts:
            for sixteenth, level in parse_rhythm(pattern):
                takes = kit[voice]
                place = at(sixteenth) + random.randint(-60, 61)
                sound = takes[random.randint(len(takes))]
                synth.add(out, sound, max(place, 0), gain * level * random.uniform(0.85, 1.1))


def _note(midi: float, seconds: float, tilt: float, cutoff: float) -> np.ndarray:
    """A plucked note of a falling brightness, [time]."""
    length, frequency = int(seconds * SAMPLE_RATE), float(synth.midi_to_hz(midi))
    table = synth.wavetable(synth.harmonics(frequency, tilt, cutoff))
    tone = synth.oscillator(table, frequency, length) * synth.decay(length, seconds / 3)
    return synth.fade(tone, 0.004, 0.02)


def _play_notes(style, bpm: float, chords, quality: str, random, out: np.ndarray) -> None:
    """Bass and keys; an arpeggio where no drums play, else whole chords."""
    turn = 0
    for bar, at in _bars(style, bpm, out.shape[1]):
        root = chords[bar % len(chords)]
        notes = [48 + root + interval for interval in QUALITIES[quality]]
        for sixteenth, level in parse_rhythm(style.bass):
            tone = _note(33 + root % 12, 24.0 / bpm, 1.3, 700.0)
            synth.add(out, tone, at(sixteenth), 0.3 * level)
        for sixteenth, level in parse_rhythm(style.keys):
            played = notes if style.kicks else [notes[turn % len(notes)] + 12 * (turn // 4 % 2)]
            turn += 1
            for note in played:
                gain = 0.25 * level * random.uniform(0.85, 1.0) / len(played) ** 0.5
                synth.add(out, _note(note, 60.0 / bpm, 1.6, 2500.0), at(sixteenth), gain)


def _play_pads(gain: float, seconds: float, chords, quality: str, random, out: np.ndarray) -> None:
    """Chords of `seconds` that swell and fade into each other."""
    step, length = int(seconds * SAMPLE_RATE), out.shape[1]
    for number, start in enumerate(range(0, length, step)):
        for interval in QUALITIES[quality]:
            frequency = float(synth.midi_to_hz(48 + chords[number % len(chords)] + interval))
            frequency *= random.uniform(0.998, 1.002)
            table = synth.wavetable(synth.harmonics(frequency, 1.8, 1500.0))
            tone = synth.oscillator(table, frequency, 2 * step, random.uniform())
            swell = np.sin(np.pi * np.arange(2 * step) / (2 * step)) ** 2
            for channel in out:
                synth.add(channel, tone * swell, start, 0.12 * gain * random.uniform(0.7, 1.0))
