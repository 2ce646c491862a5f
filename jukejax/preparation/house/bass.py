"""The bass line of a house track."""

import numpy as np

from jukejax.preparation.house import synth
from jukejax.preparation.house.score import Score
from jukejax.preparation.house.synth import SAMPLE_RATE


def _render_bass(timbre: str, note: int, length: int, accent: float) -> np.ndarray:
    """Renders one note, [length]; `accent` in [0, 1]."""
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
    """Plays the bass line, mono [time]: one note at a time, each ends at the next at the latest."""
    artist, rng = score.artist, score.stream("bass")
    bus = np.zeros(score.length)
    rhythms = [artist.bass_rhythms[i] for i in rng.permutation(len(artist.bass_rhythms))]
    gate = rng.uniform(0.65, 0.95)
    rendered: dict[tuple[int, int, float], np.ndarray] = {}
    for bar, (_, i, _) in enumerate(score.bars):
        if not score.plays("bass", bar):
            continue
        degree, _ = score.chord(bar)
        low = 31 + (score.root + degree - 31) % 12  # G1, 49 Hz, to F#2
        pattern = list(rhythms[(bar // 8 + (i % 4 == 3)) % len(rhythms)])
        if i % 8 == 7:  # a run back to the top
            pattern[12:16] = "rfsO"
        strokes = [k for k, c in enumerate(pattern) if c != "."]
        for k, next_stroke in zip(strokes, [*strokes[1:], 16], strict=True):
            note = low + {"r": 0, "O": 12, "f": 7, "s": 10}[pattern[k]]
            accent = (0.35, 0.7, 1.0)[rng.randint(3)]
            key = (note, min(next_stroke - k, 4), accent)
            if key not in rendered:
                length = int(key[1] * gate * score.step * SAMPLE_RATE)
                rendered[key] = _render_bass(artist.bass, note, length, accent)
            synth.add(bus, rendered[key], score.at(bar, k), 0.34 * (0.85 + 0.15 * accent))
    return bus
