"""Chords of a house track: stabs with an arpeggio, and pads. Buses are [2, time] (left, right)."""

import numpy as np

from jukejax.preparation.house import synth
from jukejax.preparation.house.arrangement import SWEEPS
from jukejax.preparation.house.harmony import HALVES, QUALITIES
from jukejax.preparation.house.score import Score, parse_rhythm
from jukejax.preparation.house.style import Patch
from jukejax.preparation.house.synth import SAMPLE_RATE

STRUM = 90  # samples between the notes of a stab
# Steps of an arpeggio on the ladder of a chord's notes.
ARPEGGIOS = (
    (0, 1, 2, 3, 4, 5, 6, 7),
    (0, 2, 1, 3, 2, 4, 3, 5),
    (0, 1, 2, 3, 4, 3, 2, 1),
    (0, 3, 6, 1, 4, 7, 2, 5),
    (0, 4, 2, 5, 0, 4, 3, 6),
    (5, 4, 3, 2, 1, 0, 2, 4),
)


def voice_chord(score: Score, bar: int, half: int, center: int) -> list[int]:
    """Returns the MIDI notes of a chord, each in the octave around `center`.

    Every note keeps its octave, for smooth voice leading.
    """
    degree, quality = score.chord(bar, half)
    notes = []
    for interval in QUALITIES[quality]:
        pitch_class = (score.root + degree + interval) % 12
        notes.append(center - 6 + (pitch_class - center + 6) % 12)
    return sorted(notes)


def _render_stab(timbre: str, note: int, length: int, bright: float, patch: Patch) -> np.ndarray:
    """Renders one note of a chord stab, [length]; `bright` in [0, 1]."""
    frequency = float(synth.midi_to_hz(note))
    bright *= patch.brightness
    if timbre == "rhodes":
        tone = synth.fm(frequency, length, ratio=1.0, index=0.6 + 1.5 * bright, index_decay=0.25)
        tine = synth.fm(frequency, length, ratio=14.0, index=0.8 * bright, index_decay=0.05)
        sound = (0.75 * tone + 0.25 * tine) * synth.decay(length, 0.45 * patch.stab_decay)
    elif timbre == "glass":
        bell = synth.fm(frequency, length, ratio=3.53, index=0.8 + 1.2 * bright, index_decay=0.1)
        body = np.sin(2 * np.pi * frequency * synth.clock(length))
        sound = (0.6 * bell + 0.5 * body) * synth.decay(length, 0.28 * patch.stab_decay)
    elif timbre == "organ":
        drawbars = np.array([1.0, 0.6, 0.5, 0.35 * bright, 0.0, 0.3 * bright, 0.0, 0.2])
        body = synth.oscillator(synth.wavetable(drawbars), frequency, length)
        knock = synth.fm(2 * frequency, length, ratio=1.5, index=1.0, index_decay=0.03)
        sound = 0.6 * body + 0.5 * knock * synth.decay(length, 0.04 * patch.stab_decay)
    else:  # saw: bright at the attack, dark in the tail
        dark = synth.wavetable(synth.harmonics(frequency, 1.0, 700.0 + 900.0 * bright))
        full = synth.wavetable(synth.harmonics(frequency, 1.0, 4500.0 + 7000.0 * bright))
        opening = synth.decay(length, 0.12)
        sound = np.zeros(length)
        for cents in (-patch.detune, patch.detune - 1.0):
            detuned = frequency * 2.0 ** (cents / 1200.0)
            sound += opening * synth.oscillator(full, detuned, length, 0.1 * cents % 1.0)
            sound += (1.0 - opening) * synth.oscillator(dark, detuned, length, 0.1 * cents % 1.0)
        sound *= 0.55 * synth.decay(length, 0.5 * patch.stab_decay)
    return synth.fade(sound, 0.002, 0.05)


def add_echo(score: Score, sound: np.ndarray) -> np.ndarray:
    """Returns sound [2, time] with the track's echo, whose repeats change sides."""
    delay = round(score.artist.patch.echo_steps * score.step * SAMPLE_RATE)
    wet = np.zeros_like(sound)
    wet[:, delay:] = sound[::-1, :-delay]
    synth.repeat(wet, 2 * delay, min(0.6, score.artist.patch.echo_feedback))
    wet *= score.artist.echo
    wet += sound
    return wet


def play_stabs(score: Score) -> np.ndarray:
    """Plays chord stabs and arpeggio with the moving filter and an echo: [2, time]."""
    player = _StabPlayer(score)
    for bar in range(len(score.bars)):
        if score.plays("stab", bar):
            player.play_stabs(bar)
        if score.artist.arpeggio and score.plays("arp", bar):
            player.play_arpeggio(bar)
    filtered = synth.sweep(player.bus, _ChordCutoff(score), q=1.1, block=4096)
    return add_echo(score, filtered)


class _StabPlayer:
    """Plays stabs and arpeggio bar by bar.

    Attributes:
      bus: [2, time], the stereo mix.
      center: MIDI note around which chords are voiced.
    """

    def __init__(self, score: Score):
        self.score = score
        self.rng = rng = score.stream("stabs")
        self.bus = synth.silence(2, score.length)
        self.center = 60 + rng.randint(-3, 4)
        self._length = rng.uniform(0.8, 1.4)  # factor of the stabs' length
        self._arpeggios = [ARPEGGIOS[i] for i in rng.permutation(len(ARPEGGIOS))]
        self._gate = rng.uniform(0.65, 0.95)
        self._notes: dict[tuple[int, float, float], np.ndarray] = {}
        self._chords: dict[tuple, np.ndarray] = {}

    def play_stabs(self, bar: int) -> None:
        """Plays the stabs of one bar: bars alternate A A B A, with new A and B every eight."""
        score, rng = self.score, self.rng
        section, i, _ = score.bars[bar]
        rhythms = score.artist.stab_rhythms
        rhythm = rhythms[(score.phrases[bar] + (i % 4 == 2)) % len(rhythms)]
        strokes: dict[int, float] = dict(parse_rhythm(rhythm))
        if score.is_turn(bar):
            strokes[int(rng.randint(12, 16))] = 0.8
        for sixteenth, level in strokes.items():
            sixteenths = 2.0 if level < 1.0 else (4.0 if section != "break" else 6.0)
            bright = 0.4 if level < 1.0 else (0.7 if section != "drop" else 1.0)
            half = sixteenth * HALVES // 16
            sound = self._render_chord(bar, half, self._length * sixteenths, bright)
            synth.add(
                self.bus, sound, score.at(bar, sixteenth), 0.16 * level * rng.uniform(0.85, 1.1)
            )

    def play_arpeggio(self, bar: int) -> None:
        """Plays the arpeggio of one bar, alternately left and right."""
        score, rng = self.score, self.rng
        _, i, _ = score.bars[bar]
        steps = self._arpeggios[(score.phrases[bar] + (i % 4 == 3)) % len(self._arpeggios)]
        for sixteenth in range(16):
            if rng.uniform() < self._gate:
                notes = voice_chord(score, bar, sixteenth * HALVES // 16, self.center)
                ladder = [*notes, *(note + 12 for note in notes)]
                midi = ladder[steps[sixteenth % len(steps)] % len(ladder)] + 12
                gain = 0.12 * score.artist.arpeggio * rng.uniform(0.5, 1.1)
                side, start = sixteenth % 2, score.at(bar, sixteenth)
                sound = self._render_note(midi, 2.0, 0.4)
                synth.add(self.bus[side], sound, start, gain)
                synth.add(self.bus[1 - side], sound, start, 0.5 * gain)

    def _render_chord(self, bar: int, half: int, sixteenths: float, bright: float) -> np.ndarray:
        """Returns a strummed chord, [2, length], its notes spread from left to right."""
        key = (self.score.chord(bar, half), sixteenths, bright)
        if key not in self._chords:
            notes = voice_chord(self.score, bar, half, self.center)
            sounds = [self._render_note(midi, sixteenths, bright) for midi in notes]
            chord = np.zeros((2, len(sounds[0]) + STRUM * len(notes)))
            for k, sound in enumerate(sounds):
                position = 0.5 * (2.0 * k / (len(notes) - 1) - 1.0)
                synth.add(chord[0], sound, STRUM * k, min(1.0, 1.0 - position))
                synth.add(chord[1], sound, STRUM * k, min(1.0, 1.0 + position))
            self._chords[key] = chord
        return self._chords[key]

    def _render_note(self, midi: int, sixteenths: float, bright: float) -> np.ndarray:
        key = (midi, sixteenths, bright)
        if key not in self._notes:
            length = int(sixteenths * self.score.step * SAMPLE_RATE)
            artist = self.score.artist
            self._notes[key] = _render_stab(artist.stab, midi, length, bright, artist.patch)
        return self._notes[key]


class _ChordCutoff:
    """Cutoff in Hz of the chords' filter at given samples."""

    def __init__(self, score: Score):
        self._places: list[int] = []
        cutoffs: list[float] = []
        bar = 0
        for section, count in score.plan:
            self._places += [score.at(bar, 0), score.at(bar + count, 0) - 1]
            cutoffs += list(SWEEPS[section])
            bar += count
        self._octaves = np.log2(cutoffs)
        self._phrase = score.at(8, 0)  # period of a slow modulation: eight bars
        self._bars = [score.at(bar, 0) for bar in range(len(score.bars))]
        self._moves = np.array(score.arrangement.moves)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        wave = 0.4 * np.sin(2 * np.pi * samples / self._phrase)
        moves = self._moves[np.searchsorted(self._bars, samples, side="right") - 1]
        return 2.0 ** (np.interp(samples, self._places, self._octaves) + wave + moves)


def _render_pad(
    timbre: str, midi: int, length: int, patch: Patch, rng: np.random.RandomState
) -> np.ndarray:
    """Renders one held note, [2, length], detuned between left and right."""
    frequency = float(synth.midi_to_hz(midi))
    if timbre == "choir":  # few harmonics
        amplitudes = np.array([1.0, 0.55, 0.3, 0.12, 0.05])
    else:
        tilt = 1.0 if timbre == "saw" else 1.3
        amplitudes = synth.harmonics(frequency, tilt, patch.pad_cutoff)
    table = synth.wavetable(amplitudes)
    sound = np.zeros((2, length))
    voices = (-1.0, 1.0) if timbre != "strings" else (-1.3, 1.0, 0.3, -0.4)
    for k, side in enumerate(voices):
        cents = side * patch.detune + rng.uniform(-2, 2)
        detuned = frequency * 2.0 ** (cents / 1200.0)
        sound[k % 2] += synth.oscillator(table, detuned, length, rng.uniform())
    if timbre == "choir":
        sound *= 1.0 + 0.15 * np.sin(2 * np.pi * 5.0 * synth.clock(length))
    return sound


def play_pads(score: Score) -> np.ndarray:
    """Plays held chords, [2, time]."""
    artist, rng = score.artist, score.stream("pads")
    bus = np.zeros((2, score.length))
    cache: dict[tuple, np.ndarray] = {}
    for bar in range(len(score.bars)):
        if not score.plays("pad", bar):
            continue
        section, i, count = score.bars[bar]
        swell = 0.8 + 0.5 * i / count if section in ("build", "break") else 0.75
        halves = (0,) if score.chord(bar, 0) == score.chord(bar, 1) else (0, 1)
        for half in halves:
            key = (score.chord(bar, half), len(halves))
            if key not in cache:
                # Tails overlap by a quarter of a second.
                length = score.at(1, 0) // len(halves) + int(0.25 * SAMPLE_RATE)
                notes = voice_chord(score, bar, half, 57)
                held = [_render_pad(artist.pads[0], n, length, artist.patch, rng) for n in notes]
                cache[key] = synth.fade(np.sum(held, axis=0), 0.2 / len(halves), 0.25)
            synth.add(bus, cache[key], score.at(bar, 8 * half), 0.075 * artist.pad * swell)
    return bus
