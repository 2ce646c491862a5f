"""Chords of a house track: stabs with an arpeggio, and pads. Buses are [2, time] (left, right)."""

import numpy as np

from jukejax.preparation.house import synth
from jukejax.preparation.house.artists import QUALITIES
from jukejax.preparation.house.score import SWEEPS, Score, parse_rhythm
from jukejax.preparation.house.synth import SAMPLE_RATE


def _voice_chord(score: Score, bar: int, center: int) -> list[int]:
    """Returns the MIDI notes of the bar's chord, each in the octave around `center`.

    Every note keeps its octave, for smooth voice leading.
    """
    degree, quality = score.chord(bar)
    notes = []
    for interval in QUALITIES[quality]:
        pitch_class = (score.root + degree + interval) % 12
        notes.append(center - 6 + (pitch_class - center + 6) % 12)
    return sorted(notes)


def _render_stab(timbre: str, note: int, length: int, bright: float) -> np.ndarray:
    """Renders one note of a chord stab, [length]; `bright` in [0, 1]."""
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
    """Plays chord stabs and arpeggio with the moving filter and an echo: [2, time]."""
    player = _StabPlayer(score)
    for bar in range(len(score.bars)):
        notes = _voice_chord(score, bar, player.center)
        if score.plays("stab", bar):
            player.play_stabs(bar, notes)
        if score.artist.arpeggio and score.plays("arp", bar):
            player.play_arpeggio(bar, notes)
    filtered = synth.sweep(player.bus, _ChordCutoff(score), q=1.1, block=4096)
    dotted = round(3 * score.step * SAMPLE_RATE)
    repeats = np.zeros_like(filtered)
    repeats[:, dotted:] = filtered[::-1, :-dotted]  # the echo exchanges left and right
    return filtered + score.artist.echo * synth.echo(repeats, 2 * dotted, 0.35)


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
        rhythms = score.artist.stab_rhythms
        self._rhythms = [rhythms[i] for i in rng.permutation(len(rhythms))]
        self._rendered: dict[tuple[int, float, float], np.ndarray] = {}

    def play_stabs(self, bar: int, notes: list[int]) -> None:
        """Plays the stabs of one bar: bars alternate A A B A, with new A and B every eight."""
        score, rng = self.score, self.rng
        section, i, _ = score.bars[bar]
        rhythm = self._rhythms[(bar // 8 + (i % 4 == 2)) % len(self._rhythms)]
        strokes: dict[int, float] = dict(parse_rhythm(rhythm))
        if score.is_turn(bar):
            strokes[int(rng.randint(12, 16))] = 0.8
        for sixteenth, level in strokes.items():
            sixteenths = 1.5 if level < 1.0 else (3.0 if section != "break" else 6.0)
            bright = 0.4 if level < 1.0 else (0.7 if section != "drop" else 1.0)
            for voice, midi in enumerate(notes):
                sound = self._render_note(midi, sixteenths, bright)
                position = 0.5 * (2.0 * voice / (len(notes) - 1) - 1.0)
                strum = score.at(bar, sixteenth) + 90 * voice
                gain = 0.16 * level * rng.uniform(0.85, 1.1)
                synth.add(self.bus[0], sound, strum, gain * min(1.0, 1.0 - position))
                synth.add(self.bus[1], sound, strum, gain * min(1.0, 1.0 + position))

    def play_arpeggio(self, bar: int, notes: list[int]) -> None:
        """Plays the arpeggio of one bar, alternately left and right."""
        score, rng = self.score, self.rng
        _, i, _ = score.bars[bar]
        ladder = [*notes, *(note + 12 for note in notes[:3])]
        for sixteenth in range(16):
            if rng.uniform() < 0.8:
                midi = ladder[(sixteenth * (3 if i % 4 == 3 else 1)) % len(ladder)] + 12
                gain = 0.1 * score.artist.arpeggio * rng.uniform(0.5, 1.1)
                side, start = sixteenth % 2, score.at(bar, sixteenth)
                sound = self._render_note(midi, 1.5, 0.4)
                synth.add(self.bus[side], sound, start, gain)
                synth.add(self.bus[1 - side], sound, start, 0.5 * gain)

    def _render_note(self, midi: int, sixteenths: float, bright: float) -> np.ndarray:
        key = (midi, sixteenths, bright)
        if key not in self._rendered:
            length = int(sixteenths * self.score.step * SAMPLE_RATE)
            self._rendered[key] = _render_stab(self.score.artist.stab, midi, length, bright)
        return self._rendered[key]


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

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        wave = 0.5 * np.sin(2 * np.pi * samples / self._phrase)
        return 2.0 ** (np.interp(samples, self._places, self._octaves) + wave)


def play_pads(score: Score) -> np.ndarray:
    """Plays held chords: two detuned saws for each note, one on either side. [2, time]."""
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
            for midi in _voice_chord(score, bar, 57):
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
