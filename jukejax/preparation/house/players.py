"""The band: each player reads the score and returns what it plays over the whole track.

Buses are [2, time] (left, right) or [time] where a player stands in the middle.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import drums, synth
from jukejax.preparation.house.artists import QUALITIES
from jukejax.preparation.house.score import SWEEPS, Score
from jukejax.preparation.house.synth import SAMPLE_RATE

# Drums.


def rhythm(pattern: str) -> list[tuple[int, float]]:
    """(sixteenth, level) of the strokes of a one-bar pattern."""
    return [(i, {"o": 0.55, "x": 1.0}[c]) for i, c in enumerate(pattern) if c != "."]


def play_drums(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Everything struck except the kick: the bus [2, time] and what the room hears of it [time]."""
    artist, rng = score.artist, score.stream("drums")
    kit = drums.render(artist.kit, rng)
    bus = np.zeros((2, score.length))
    room = synth.silence(score.length)

    def hit(voice: str, bar: int, sixteenth: float, level: float, where: float = 0.0, take=None):
        takes = kit[voice]
        sound = takes[rng.randint(len(takes)) if take is None else take]
        jitter = rng.randint(-60, 61)  # samples: 1.4 ms of a hand
        start = max(0, score.at(bar, sixteenth) + (0 if voice == "clap" else jitter))
        gain = level * rng.uniform(0.85, 1.1)
        synth.add(bus[0], sound, start, gain * min(1.0, 1.0 - where))
        synth.add(bus[1], sound, start, gain * min(1.0, 1.0 + where))
        if voice in ("clap", "perc", "crash"):
            synth.add(room, sound, start, 0.6 * gain)

    perc_rhythms = [artist.perc_rhythms[i] for i in rng.permutation(len(artist.perc_rhythms))]
    for bar, (section, i, count) in enumerate(score.bars):
        if i == 0 and bar > 0 and section in ("drop", "break", "outro"):
            hit("crash", bar, 0, 0.35, 0.2)
        if score.plays("clap", bar):
            for beat in (4, 12):
                hit("clap", bar, beat, 0.8)
        if score.plays("hats", bar):
            for beat in (2, 6, 10, 14):
                hit("open", bar, beat, 0.42, -0.15)
            if section != "intro" or i > 0:
                for sixteenth, level in rhythm(artist.hat_rhythm):
                    hit("hat", bar, sixteenth, 0.36 * level, 0.25)
        if score.plays("ride", bar):
            for beat in (0, 4, 8, 12):
                hit("ride", bar, beat, 0.16, 0.4)
        if score.plays("shaker", bar):
            for sixteenth in range(16):
                level = (0.5, 0.3, 1.0, 0.35)[sixteenth % 4]
                hit("shaker", bar, sixteenth, 0.3 * artist.shaker * level, -0.4)
        if score.plays("perc", bar):
            for sixteenth, level in rhythm(perc_rhythms[bar // 8 % len(perc_rhythms)]):
                take = rng.randint(3)
                hit("perc", bar, sixteenth, 0.36 * level, 0.3 * (take - 1), take)
        if score.is_turn(bar) and section not in ("intro", "outro"):
            if i == count - 1 and section in ("build", "break"):
                # A roll on the clap that doubles its pace: four eighths, then sixteenths.
                for sixteenth in (0, 2, 4, 6, *range(8, 16)):
                    hit("clap", bar, sixteenth, 0.1 + 0.025 * sixteenth)
            else:
                for sixteenth in range(rng.randint(11, 14), 16):
                    hit("perc", bar, sixteenth, 0.45, 0.5 * rng.uniform(-1, 1), rng.randint(3))
    for start, end in _rises(score):
        synth.add(bus, drums.riser(rng, end - start), start, 0.3)
    if artist.crackle:
        _add_crackle(bus, rng, artist.crackle)
    return bus, room


def _rises(score: Score) -> list[tuple[int, int]]:
    """(first, last) sample of the noise that climbs towards each drop: up to two bars before it."""
    rises = []
    for bar, (section, i, _) in enumerate(score.bars):
        if section == "drop" and i == 0 and bar > 0:
            span = min(2, score.bars[bar - 1][2])
            rises.append((score.at(bar - span, 0), score.at(bar, 0)))
    return rises


def _add_crackle(bus: np.ndarray, rng: RandomState, gain: float) -> None:
    """Dust: about nine clicks a second on either side, and a thin hiss."""
    length = bus.shape[-1]
    for channel in bus:
        clicks = np.zeros(length)
        count = int(9 * length / SAMPLE_RATE)
        clicks[rng.randint(0, length, count)] = rng.uniform(-1.0, 1.0, count)
        dust = 0.5 * synth.bandpass(clicks, 3500.0, 0.6) + 0.003 * synth.noise(rng, length)
        channel += gain * dust


# Harmony.


def _voicing(score: Score, bar: int, centre: int) -> list[int]:
    """MIDI notes of the bar's chord, each in the octave around `centre`: smooth voice leading."""
    degree, quality = score.chord(bar)
    notes = []
    for interval in QUALITIES[quality]:
        pitch_class = (score.root + degree + interval) % 12
        notes.append(centre - 6 + (pitch_class - centre + 6) % 12)
    return sorted(notes)


def _stab_note(timbre: str, note: int, length: int, bright: float) -> np.ndarray:
    """One note of a chord stab, [length]; `bright` in 0..1."""
    frequency = float(synth.midi_to_hz(note))
    if timbre == "rhodes":
        tone = synth.fm(frequency, length, ratio=1.0, index=0.6 + 1.5 * bright, index_decay=0.25)
        tine = synth.fm(frequency, length, ratio=14.0, index=0.8 * bright, index_decay=0.05)
        sound = (0.75 * tone + 0.25 * tine) * synth.decay(length, 0.45)
    elif timbre == "glass":
        bell = synth.fm(frequency, length, ratio=3.53, index=1.0 + 1.5 * bright, index_decay=0.12)
        sound = bell * synth.decay(length, 0.2)
    elif timbre == "organ":
        drawbars = np.array([1.0, 0.6, 0.5, 0.35 * bright, 0.0, 0.3 * bright, 0.0, 0.2])
        body = synth.oscillator(synth.wavetable(drawbars), frequency, length)
        knock = synth.fm(2 * frequency, length, ratio=1.5, index=1.0, index_decay=0.03)
        sound = 0.6 * body + 0.5 * knock * synth.decay(length, 0.04)
    else:  # saw: bright at the attack, dark in the tail
        dark = synth.wavetable(synth.harmonics(frequency, 1.0, 700.0 + 900.0 * bright))
        full = synth.wavetable(synth.harmonics(frequency, 1.0, 4500.0 + 7000.0 * bright))
        opening = synth.decay(length, 0.12)
        sound = np.zeros(length)
        for cents in (-7.0, 6.0):
            detuned = frequency * 2.0 ** (cents / 1200.0)
            sound += opening * synth.oscillator(full, detuned, length, 0.1 * cents % 1.0)
            sound += (1.0 - opening) * synth.oscillator(dark, detuned, length, 0.1 * cents % 1.0)
        sound *= 0.55 * synth.decay(length, 0.5)
    return synth.fade(sound, 0.002, 0.05)


def play_stabs(score: Score) -> np.ndarray:
    """Chord stabs and the arpeggio through the sweeping filter, with their echo: [2, time]."""
    artist, rng = score.artist, score.stream("stabs")
    bus = synth.silence(2, score.length)
    centre = 60 + rng.randint(-3, 4)
    rhythms = [artist.stab_rhythms[i] for i in rng.permutation(len(artist.stab_rhythms))]
    cache: dict[tuple, np.ndarray] = {}

    def note(midi: int, sixteenths: float, bright: float) -> np.ndarray:
        key = (midi, sixteenths, bright)
        if key not in cache:
            length = int(sixteenths * score.step * SAMPLE_RATE)
            cache[key] = _stab_note(artist.stab, midi, length, bright)
        return cache[key]

    for bar, (section, i, _) in enumerate(score.bars):
        notes = _voicing(score, bar, centre)
        if score.plays("stab", bar):
            # Bars alternate A A B A, with new A and B every eight; a turn gets one more stroke.
            strokes = dict(rhythm(rhythms[(bar // 8 + (i % 4 == 2)) % len(rhythms)]))
            if score.is_turn(bar):
                strokes[int(rng.randint(12, 16))] = 0.8
            for sixteenth, level in strokes.items():
                sixteenths = 1.5 if level < 1.0 else (3.0 if section != "break" else 6.0)
                bright = 0.4 if level < 1.0 else (0.7 if section != "drop" else 1.0)
                for voice, midi in enumerate(notes):
                    sound = note(midi, sixteenths, bright)
                    where = 0.5 * (2.0 * voice / (len(notes) - 1) - 1.0)
                    strum = score.at(bar, sixteenth) + 90 * voice
                    gain = 0.16 * level * rng.uniform(0.85, 1.1)
                    synth.add(bus[0], sound, strum, gain * min(1.0, 1.0 - where))
                    synth.add(bus[1], sound, strum, gain * min(1.0, 1.0 + where))
        if artist.arpeggio and score.plays("arp", bar):
            climb = [*notes, *(n + 12 for n in notes[:3])]
            for sixteenth in range(16):
                if rng.uniform() < 0.8:
                    midi = climb[(sixteenth * (3 if i % 4 == 3 else 1)) % len(climb)] + 12
                    gain = 0.1 * artist.arpeggio * rng.uniform(0.5, 1.1)
                    side = sixteenth % 2
                    synth.add(bus[side], note(midi, 1.5, 0.4), score.at(bar, sixteenth), gain)
                    synth.add(
                        bus[1 - side], note(midi, 1.5, 0.4), score.at(bar, sixteenth), 0.5 * gain
                    )
    swept = synth.sweep(bus, _chord_cutoff(score), q=1.1, block=4096)
    dotted = round(3 * score.step * SAMPLE_RATE)
    repeats = np.zeros_like(swept)
    repeats[:, dotted:] = swept[::-1, :-dotted]  # left answers right
    return swept + artist.echo * synth.echo(repeats, 2 * dotted, 0.35)


def _chord_cutoff(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Cutoff in Hz of the chords' filter, as a function of the sample."""
    places, values = [], []
    bar = 0
    for section, count in score.plan:
        places += [score.at(bar, 0), score.at(bar + count, 0) - 1]
        values += list(SWEEPS[section])
        bar += count
    octaves = np.log2(values)
    phrase = score.at(8, 0)  # a slow wave of eight bars on top

    def cutoff_at(samples: np.ndarray) -> np.ndarray:
        wave = 0.5 * np.sin(2 * np.pi * samples / phrase)
        return 2.0 ** (np.interp(samples, places, octaves) + wave)

    return cutoff_at


def play_pads(score: Score) -> np.ndarray:
    """Held chords, two detuned saws for each note, one to either side: [2, time]."""
    rng = score.stream("pads")
    bus = np.zeros((2, score.length))
    cutoff = rng.uniform(700.0, 1500.0)
    cache: dict[tuple, np.ndarray] = {}
    for bar in range(len(score.bars)):
        if not score.plays("pad", bar):
            continue
        chord = score.chord(bar)
        if chord not in cache:
            length = score.at(1, 0) + int(0.25 * SAMPLE_RATE)  # tails overlap
            sound = np.zeros((2, length))
            for midi in _voicing(score, bar, 57):
                frequency = float(synth.midi_to_hz(midi))
                table = synth.wavetable(synth.harmonics(frequency, 1.0, cutoff))
                for channel, cents in enumerate((-6.0, 6.0)):
                    detuned = frequency * 2.0 ** ((cents + rng.uniform(-2, 2)) / 1200.0)
                    sound[channel] += synth.oscillator(table, detuned, length, rng.uniform())
            cache[chord] = synth.fade(sound, 0.25, 0.25)
        section, i, count = score.bars[bar]
        swell = 0.8 + 0.5 * i / count if section in ("build", "break") else 0.75
        synth.add(bus, cache[chord], score.at(bar, 0), 0.075 * score.artist.pad * swell)
    return bus


def _bass_note(timbre: str, note: int, length: int, accent: float) -> np.ndarray:
    frequency = float(synth.midi_to_hz(note))
    if timbre == "sub":
        tone = synth.oscillator(synth.wavetable(np.array([1.0, 0.35, 0.12])), frequency, length)
        return synth.fade(0.8 * tone * synth.decay(length, 0.6), 0.004, 0.03)
    if timbre == "organ":
        body = synth.oscillator(synth.wavetable(np.array([1.0, 0.5])), frequency, length)
        knock = synth.fm(2 * frequency, length, ratio=2.0, index=1.6, index_decay=0.06)
        sound = 0.65 * body + 0.45 * knock * synth.decay(length, 0.12)
        return synth.fade(sound, 0.003, 0.03)
    if timbre == "acid":
        saw = synth.oscillator(synth.wavetable(synth.harmonics(frequency, 1.0)), frequency, length)
        height, fall = 500.0 + 1300.0 * accent, 0.08 * SAMPLE_RATE
        swept = synth.sweep(saw, lambda at: 180.0 + height * np.exp(-at / fall), q=4.0, block=512)
        return synth.fade(0.5 * synth.soft_clip(swept), 0.003, 0.02)
    dark = synth.wavetable(synth.harmonics(frequency, 1.0, 180.0))
    full = synth.wavetable(synth.harmonics(frequency, 1.0, 1400.0))
    opening = accent * synth.decay(length, 0.09)
    sound = synth.oscillator(dark, frequency, length) + opening * synth.oscillator(
        full, frequency, length
    )
    return synth.fade(0.6 * sound * synth.decay(length, 0.7), 0.003, 0.03)


def play_bass(score: Score) -> np.ndarray:
    """The bass line, mono [time]: one note at a time, each held until the next at most."""
    artist, rng = score.artist, score.stream("bass")
    bus = np.zeros(score.length)
    rhythms = [artist.bass_rhythms[i] for i in rng.permutation(len(artist.bass_rhythms))]
    gate = rng.uniform(0.65, 0.95)
    cache: dict[tuple, np.ndarray] = {}
    for bar, (_, i, _) in enumerate(score.bars):
        if not score.plays("bass", bar):
            continue
        degree, _ = score.chord(bar)
        low = 31 + (score.root + degree - 31) % 12  # G1, 49 Hz, to F#2
        pattern = list(rhythms[(bar // 8 + (i % 4 == 3)) % len(rhythms)])
        if i % 8 == 7:  # a run back to the top
            pattern[12:16] = "rfsO"
        strokes = [k for k, c in enumerate(pattern) if c != "."]
        for k, after in zip(strokes, [*strokes[1:], 16], strict=True):
            note = low + {"r": 0, "O": 12, "f": 7, "s": 10}[pattern[k]]
            accent = (0.35, 0.7, 1.0)[rng.randint(3)]
            key = (note, min(after - k, 4), accent)
            if key not in cache:
                length = int(key[1] * gate * score.step * SAMPLE_RATE)
                cache[key] = _bass_note(artist.bass, note, length, accent)
            synth.add(bus, cache[key], score.at(bar, k), 0.34 * (0.85 + 0.15 * accent))
    return bus
