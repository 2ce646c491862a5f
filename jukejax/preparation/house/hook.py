"""The instrumental hook of a house track: two melodies of four bars, of one instrument each."""

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from jukejax.preparation.house import synth
from jukejax.preparation.house.chords import add_echo, voice_chord
from jukejax.preparation.house.harmony import HALVES
from jukejax.preparation.house.lead import list_scale
from jukejax.preparation.house.score import Score
from jukejax.preparation.house.style import Patch
from jukejax.preparation.house.synth import SAMPLE_RATE
from jukejax.preparation.house.variation import vary_rhythm

# Rhythms of one bar; loud notes are notes of the chord.
HOOK_RHYTHMS = (
    "x..o..x...o.x...",
    "x...o.x..o..x...",
    "..x.o.x...x..o..",
    "x.o.x..x..o.x.o.",
    "x.....x...x.o...",
    "x..x..o.x..x..o.",
)
FORMS = ((0, 1, 0, 2), (0, 0, 1, 2), (0, 1, 2, 1), (0, 1, 0, 1))  # bars of a melody
LONGEST_NOTE = 6  # sixteenths


class _HookNote(NamedTuple):
    """A note of a melody: `place` on the ladder, and whether it must be a note of the chord."""

    sixteenth: int
    length: int
    place: int
    is_firm: bool


def _write_melody(ladder_size: int, tonic: int, rng: RandomState) -> list[list[_HookNote]]:
    """Writes a melody of four bars; each begins near the tonic, at place `tonic`."""
    bars = []
    for _ in range(3):
        place = tonic
        rhythm = vary_rhythm(HOOK_RHYTHMS, rng, 2)
        strokes = [k for k, stroke in enumerate(rhythm) if stroke != "."]
        bar = []
        for sixteenth, end in zip(strokes, [*strokes[1:], 16], strict=True):
            length = min(end - sixteenth, LONGEST_NOTE)
            bar.append(_HookNote(sixteenth, length, place, rhythm[sixteenth] == "x"))
            place = min(max(place + int(rng.randint(-2, 3)), 0), ladder_size - 1)
        bars.append(bar)
    return [bars[k] for k in FORMS[rng.randint(len(FORMS))]]


def _render_hook(timbre: str, midi: int, length: int, patch: Patch) -> np.ndarray:
    """Renders one note, [length]."""
    frequency = float(synth.midi_to_hz(midi))
    if timbre == "vibes":
        bar = synth.fm(frequency, length, ratio=4.0, index=0.9 * patch.brightness, index_decay=0.1)
        tremolo = 1.0 + 0.3 * np.sin(2 * np.pi * 5.2 * synth.clock(length))
        return synth.fade(bar * tremolo * synth.decay(length, 0.5), 0.002, 0.06)
    if timbre == "bell":
        tone = synth.fm(frequency, length, ratio=3.5, index=1.2 * patch.brightness, index_decay=0.2)
        return synth.fade(tone * synth.decay(length, 0.35), 0.002, 0.06)
    if timbre == "reed":  # odd harmonics with vibrato
        cutoff = 1800.0 * patch.brightness
        amplitudes = synth.harmonics(frequency, 1.0, cutoff)
        amplitudes[1::2] *= 0.2
        time = synth.clock(length)
        depth = 0.006 * np.clip((time - 0.12) / 0.2, 0.0, 1.0)
        pitch = frequency * (1.0 + depth * np.sin(2 * np.pi * 5.5 * time))
        return synth.fade(synth.oscillator(synth.wavetable(amplitudes), pitch, length), 0.012, 0.05)
    dark = synth.wavetable(synth.harmonics(frequency, 1.0, 900.0 * patch.brightness))
    full = synth.wavetable(synth.harmonics(frequency, 1.0, 6000.0 * patch.brightness))
    opening = synth.decay(length, 0.06)
    sound = synth.oscillator(dark, frequency, length)
    sound += opening * synth.oscillator(full, frequency, length)
    return synth.fade(sound * synth.decay(length, 0.22), 0.002, 0.04)


def play_hook(score: Score) -> np.ndarray:
    """Plays the hook with its echo, [2, time]; melodies alternate every eight bars."""
    artist, rng = score.artist, score.stream("hook")
    bus = np.zeros((2, score.length))
    center = 74 + rng.randint(-3, 4)
    ladder = [n for n in list_scale(score) if center - 8 <= n <= center + 9]
    tonics = [k for k, note in enumerate(ladder) if note % 12 == score.root]
    tonic = min(tonics, key=lambda k: abs(ladder[k] - center))
    melodies = [_write_melody(len(ladder), tonic, rng) for _ in artist.hooks]
    cache: dict[tuple[str, int, int], np.ndarray] = {}
    for bar in range(len(score.bars)):
        if not score.plays("hook", bar):
            continue
        _, i, _ = score.bars[bar]
        turn = score.phrases[bar] % len(melodies)
        timbre = artist.hooks[turn]
        for sixteenth, length, place, is_firm in melodies[turn][i % 4]:
            midi = ladder[place]
            if is_firm:
                chord = voice_chord(score, bar, sixteenth * HALVES // 16, midi)
                midi = min(chord, key=lambda note: abs(note - midi))
            key = (timbre, midi, length)
            if key not in cache:
                samples = int((length - 0.1) * score.step * SAMPLE_RATE)
                cache[key] = _render_hook(timbre, midi, samples, artist.patch)
            position = 0.25 if sixteenth % 8 < 4 else -0.25
            gain, start = rng.uniform(0.8, 1.0), score.at(bar, sixteenth)
            synth.add(bus[0], cache[key], start, gain * min(1.0, 1.0 - position))
            synth.add(bus[1], cache[key], start, gain * min(1.0, 1.0 + position))
    return add_echo(score, bus)
