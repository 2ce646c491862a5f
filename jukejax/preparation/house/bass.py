"""The bass line of a house track."""

import numpy as np

from jukejax.preparation.house import synth
from jukejax.preparation.house.harmony import HALVES, QUALITIES
from jukejax.preparation.house.score import Score
from jukejax.preparation.house.style import Patch
from jukejax.preparation.house.synth import SAMPLE_RATE

FIFTH, MINOR_SEVENTH = 7, 10


def _render_bass(timbre: str, note: int, length: int, accent: float, patch: Patch) -> np.ndarray:
    """Renders one note, [length]; `accent` in [0, 1]."""
    frequency = float(synth.midi_to_hz(note))
    sustain = patch.bass_decay
    if timbre == "sub":
        table = synth.wavetable(np.array([1.0, 0.45, 0.22, 0.1 * patch.bass_cutoff]))
        tone = synth.oscillator(table, frequency, length)
        return synth.fade(0.8 * tone * synth.decay(length, 0.6 * sustain), 0.004, 0.03)
    if timbre == "organ":
        body = synth.oscillator(synth.wavetable(np.array([1.0, 0.5, 0.2])), frequency, length)
        knock = synth.fm(2 * frequency, length, ratio=2.0, index=1.6, index_decay=0.06)
        sound = 0.65 * body + 0.45 * knock * synth.decay(length, 0.12 * sustain)
        return synth.fade(sound, 0.003, 0.03)
    if timbre == "reese":
        cutoff = 420.0 * patch.bass_cutoff * (1.0 + 0.5 * accent)
        table = synth.wavetable(synth.harmonics(frequency, 1.0, cutoff))
        sound = 0.6 * np.sin(2 * np.pi * frequency * synth.clock(length))
        for cents in (-14.0, 13.0):
            sound += 0.3 * synth.oscillator(table, frequency * 2.0 ** (cents / 1200.0), length)
        return synth.fade(sound, 0.006, 0.03)
    if timbre == "acid":
        saw = synth.oscillator(synth.wavetable(synth.harmonics(frequency, 1.0)), frequency, length)
        height, fall = (500.0 + 1300.0 * accent) * patch.bass_cutoff, 0.08 * sustain * SAMPLE_RATE
        swept = synth.sweep(saw, lambda at: 180.0 + height * np.exp(-at / fall), q=4.0, block=512)
        return synth.fade(0.5 * synth.soft_clip(swept), 0.003, 0.02)
    dark = synth.wavetable(synth.harmonics(frequency, 1.0, 180.0))
    full = synth.wavetable(synth.harmonics(frequency, 1.0, 1400.0 * patch.bass_cutoff))
    opening = accent * synth.decay(length, 0.09 * sustain)
    sound = synth.oscillator(dark, frequency, length) + opening * synth.oscillator(
        full, frequency, length
    )
    return synth.fade(0.6 * sound * synth.decay(length, 0.7 * sustain), 0.003, 0.03)


def write_bar(score: Score, bar: int, rhythms: tuple[str, ...]) -> list[tuple[int, int]]:
    """Returns (sixteenth, MIDI note) of a bar; every new chord begins with its root."""
    _, i, _ = score.bars[bar]
    strokes = list(rhythms[(score.phrases[bar] + (i % 4 == 3)) % len(rhythms)])
    if i % 8 == 7:  # a run back to the top
        strokes[12:16] = "rfsO"
    if score.chord(bar, 0) != score.chord(bar, 1):
        strokes[8] = "r"
    notes = []
    for sixteenth, stroke in enumerate(strokes):
        if stroke == ".":
            continue
        degree, quality = score.chord(bar, sixteenth * HALVES // 16)
        low = 31 + (score.root + degree - 31) % 12  # G1, 49 Hz, to F#2
        seventh = MINOR_SEVENTH if {3, 10} & set(QUALITIES[quality]) else FIFTH
        notes.append((sixteenth, low + {"r": 0, "O": 12, "f": FIFTH, "s": seventh}[stroke]))
    return notes


def play_bass(score: Score) -> np.ndarray:
    """Plays the bass line, mono [time]: one note at a time, each ends at the next at the latest."""
    artist, rng = score.artist, score.stream("bass")
    bus = np.zeros(score.length)
    gate = rng.uniform(0.7, 0.98)
    rendered: dict[tuple[int, int, float], np.ndarray] = {}
    for bar in range(len(score.bars)):
        if not score.plays("bass", bar):
            continue
        notes = write_bar(score, bar, artist.bass_rhythms)
        ends = [sixteenth for sixteenth, _ in notes[1:]] + [16]
        for (sixteenth, note), end in zip(notes, ends, strict=True):
            accent = (0.35, 0.7, 1.0)[rng.randint(3)]
            key = (note, min(end - sixteenth, 4), accent)
            if key not in rendered:
                length = int(key[1] * gate * score.step * SAMPLE_RATE)
                rendered[key] = _render_bass(artist.basses[0], note, length, accent, artist.patch)
            synth.add(bus, rendered[key], score.at(bar, sixteenth), 0.85 + 0.15 * accent)
    return bus
