"""The vocal part: a line of four bars in the drops and in the breaks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from jukejax.data.lrc import TimedLyrics
from jukejax.preparation.house import singer, synth
from jukejax.preparation.house.score import Score
from jukejax.preparation.house.singer import Syllable
from jukejax.preparation.house.synth import SAMPLE_RATE

# (sixteenth, length) of the syllables of one bar; the first rows are hooks, the last answers.
PHRASES = (
    ((0, 3), (3, 3), (6, 4), (12, 3)),
    ((2, 2), (4, 2), (6, 3), (10, 5)),
    ((0, 2), (2, 1), (3, 3), (8, 2), (10, 5)),
    ((4, 2), (6, 2), (8, 6)),
    ((0, 6), (7, 2), (9, 1), (10, 5)),
    ((0, 12),),
    ((0, 4), (6, 8)),
)


# Pentatonic scales, which fit the chords of their mode.
SCALES = {"minor": (0, 3, 5, 7, 10), "major": (0, 2, 4, 7, 9)}


def list_scale(score: Score) -> list[int]:
    """Returns the MIDI notes of the track's pentatonic scale, from low to high."""
    return [12 * octave + score.root + s for octave in range(9) for s in SCALES[score.harmony.mode]]


class _LyricSyllable(NamedTuple):
    """A syllable of the hook. `bar` counts from its start; `length` is in sixteenths."""

    bar: int
    sixteenth: int
    length: int
    note: int
    onset: str
    vowel: str
    end_vowel: str


def _write_lyric(score: Score, voice: singer.Voice, rng: RandomState) -> list[_LyricSyllable]:
    """Writes a hook of four bars with the form A B A C."""
    ladder = [n for n in list_scale(score) if voice.center - 6 <= n <= voice.center + 8]
    shapes = [PHRASES[i] for i in (rng.randint(5), rng.randint(5), 5 + rng.randint(2))]
    onsets, vowels = list(singer.ONSETS), list(singer.FORMANTS)
    bars = []
    for shape in shapes:
        place = rng.randint(1, len(ladder) - 1)
        bar = []
        for sixteenth, length in shape:
            place = int(np.clip(place + rng.randint(-2, 3), 0, len(ladder) - 1))
            onset = onsets[rng.randint(len(onsets))]
            vowel = vowels[rng.randint(len(vowels))]
            end = vowels[rng.randint(len(vowels))] if length >= 4 else vowel
            bar.append((sixteenth, length, ladder[place], onset, vowel, end))
        bars.append(bar)
    a, b, c = bars
    return [_LyricSyllable(k, *syllable) for k, bar in enumerate((a, b, a, c)) for syllable in bar]


class Lead(NamedTuple):
    """The rendered lead.

    Attributes:
      sound: with echo and room, [2, time].
      voicing: 0 where silent, [time].
      syllables: timed from the start of the track.
    """

    sound: np.ndarray
    voicing: np.ndarray
    syllables: list[Syllable]


def play_vocal(score: Score) -> Lead:
    """Renders the lead."""
    voice, rng = score.artist.voice, score.stream("vocal")
    lyric = _write_lyric(score, voice, rng)
    dry, voicing = synth.silence(score.length), np.zeros(score.length)
    sung: list[Syllable] = []
    for first, last in _find_sung_bars(score):
        start, end = score.at(first, 0), score.at(last, 0)
        syllables = _place_syllables(score, lyric, first, last, rng)
        sound, voicing[start:end] = singer.sing(syllables, voice, end - start, rng)
        dry[start:end] += sound
        sung += [replace(s, start=s.start + start / SAMPLE_RATE) for s in syllables]
    wet = 0.35 * synth.reverb(dry, decay_seconds=1.4, damping=5000.0)
    beat = round(4 * score.step * SAMPLE_RATE)
    dull = synth.lowpass(dry, 3500.0)
    wet[0, beat:] += 0.14 * dull[:-beat]
    wet[1, 2 * beat :] += 0.09 * dull[: -2 * beat]
    wet += dry
    return Lead(wet, voicing, sung)


def sing_alone(score: Score) -> Lead:
    """Renders the singer alone, without echo and room, with new words in every bar."""
    voice, rng = score.artist.voice, score.stream("solo")
    syllables: list[Syllable] = []
    for bar in range(len(score.bars)):
        if bar % 2 == 0:
            lyric = _write_lyric(score, voice, rng)
        for sung in lyric:
            if sung.bar == bar % 2:  # the second half of a hook repeats bar 0, and answers
                begin = score.at(bar, sung.sixteenth) / SAMPLE_RATE
                syllables.append(_time_syllable(score, sung, begin, sung.note, rng))
    sound, voicing = singer.sing(syllables, voice, score.length, rng)
    return Lead(np.stack([sound, sound]), voicing, syllables)


def write_lyrics(score: Score, syllables: Sequence[Syllable]) -> TimedLyrics:
    """Writes the sung syllables as words, a line for each bar, with the time of each."""
    text, times, line_bar = "", [], -1
    bar_seconds = 16 * score.step
    for syllable in syllables:
        bar = int(syllable.start / bar_seconds + 1e-6)
        if text:
            text += " " if bar == line_bar else "\n"
        line_bar = bar
        times.append((len(text), round(syllable.start, 4)))
        text += syllable.text
    return TimedLyrics(text, tuple(times))


def _find_sung_bars(score: Score) -> list[tuple[int, int]]:
    """Returns (first bar, bar after the last) of each part of a section with the voice."""
    spans: list[tuple[int, int]] = []
    for bar, (_, i, _) in enumerate(score.bars):
        if not score.plays("voice", bar):
            continue
        if i > 0 and spans and spans[-1][1] == bar:
            spans[-1] = (spans[-1][0], bar + 1)
        else:
            spans.append((bar, bar + 1))
    return spans


def _place_syllables(
    score: Score, lyric: Sequence[_LyricSyllable], first: int, last: int, rng: RandomState
) -> list[Syllable]:
    """Returns the syllables of bars `first` to `last`, exclusive, timed from the start of these."""
    section, _, count = score.bars[first]
    start = score.at(first, 0)
    syllables = []
    for bar in range(last - first):
        for sung in lyric:
            # In the break every second line is sung; a last bar is without voice, for the fill.
            if sung.bar != bar % 4 or (section == "break" and count > 3 and bar % 2 == 1):
                continue
            varied = sung.note + (rng.randint(-1, 2) * 2 if bar >= 4 and sung.length == 1 else 0)
            begin = (score.at(first + bar, sung.sixteenth) - start) / SAMPLE_RATE
            syllables.append(_time_syllable(score, sung, begin, varied, rng))
    return syllables


def _time_syllable(
    score: Score, sung: _LyricSyllable, begin: float, note: int, rng: RandomState
) -> Syllable:
    """Returns a syllable that begins at about `begin`, in seconds."""
    return Syllable(
        start=begin + rng.uniform(0.0, 0.012),
        length=(sung.length - 0.2) * score.step,
        note=note,
        onset=sung.onset,
        vowel=sung.vowel,
        end_vowel=sung.end_vowel,
        level=rng.uniform(0.8, 1.0),
    )
