"""The grid of a track for other programs: a click track, and a MIDI file of tempo and bars.

Bars are numbered as in `--reroll=bar9:bar13`: bar 1 begins at the grid's first downbeat. The tempo
and the first downbeat of the grid must be known.
"""

import io
import itertools
import math
import os
from typing import Any

import numpy as np

from jukejax.common import files
from jukejax.data.grid import BEATS_PER_BAR, Grid, format_key

CLICK_SECONDS = 0.03
_BEAT, _DOWNBEAT = (1000.0, 0.35), (1500.0, 0.7)  # Hz and amplitude of a click
_DECAY_SECONDS = 0.006
TICKS = 960  # of a MIDI file, a beat
_FLAT_KEYS = {"D#": "Eb", "G#": "Ab", "A#": "Bb"}  # MIDI's names of major keys


def list_beats(grid: Grid, samples: int, sample_rate: int) -> list[tuple[float, bool]]:
    """Lists the beats of a track as (sample, true if a bar begins there).

    Args:
      samples: length of the track.
    """
    assert grid.first_downbeat is not None
    beat = grid.bar_samples(sample_rate) / BEATS_PER_BAR
    first = math.ceil(-grid.first_downbeat / beat - 1e-9)
    last = math.ceil((samples - grid.first_downbeat) / beat - 1e-9)
    return [
        (grid.first_downbeat + number * beat, number % BEATS_PER_BAR == 0)
        for number in range(first, last)
    ]


def render_click(grid: Grid, samples: int, sample_rate: int) -> np.ndarray:
    """Renders a click at each beat, higher and louder at bars; float32 [samples, 1]."""
    time = np.arange(round(CLICK_SECONDS * sample_rate)) / sample_rate
    envelope = np.exp(-time / _DECAY_SECONDS)
    sound = np.zeros(samples, np.float32)
    for position, is_downbeat in list_beats(grid, samples, sample_rate):
        frequency, amplitude = _DOWNBEAT if is_downbeat else _BEAT
        click = amplitude * envelope * np.sin(2 * np.pi * frequency * time)
        start = max(round(position), 0)
        part = sound[start : start + len(click)]
        part += click[: len(part)].astype(np.float32)
    return sound[:, None]


def write_tempo_map(
    path: str | os.PathLike, grid: Grid, samples: int, sample_rate: int, title: str
) -> None:
    """Writes a MIDI file that begins with the sound: tempo, metre, key and a marker for each bar.

    A DAW that imports it shows the sound on its own bar lines, and sends MIDI clock at its tempo.
    Music before the first bar line becomes a bar of whole beats, at a tempo at which it ends there.
    A first bar line within half a beat of the start is moved to the start.

    Args:
      samples: length of the sound.
      title: name of the track in the file.
    """
    import mido

    assert grid.bpm is not None
    lead, lead_beats = _find_lead(grid, sample_rate)
    events: list[tuple[int, mido.MetaMessage]] = [(0, mido.MetaMessage("track_name", name=title))]
    if grid.key:
        events.append((0, mido.MetaMessage("key_signature", key=_name_midi_key(grid.key))))
    if lead_beats:
        tempo = round(lead / sample_rate / lead_beats * 1e6)  # microseconds a beat
        events += _make_metre(mido, 0, tempo, lead_beats)
    events += _make_metre(mido, TICKS * lead_beats, mido.bpm2tempo(grid.bpm), BEATS_PER_BAR)
    beat = grid.bar_samples(sample_rate) / BEATS_PER_BAR
    end = TICKS * lead_beats + max(round((samples - lead) / beat * TICKS), 0)
    for tick in range(TICKS * lead_beats, end, TICKS * BEATS_PER_BAR):
        position = lead + (tick / TICKS - lead_beats) * beat
        text = f"Bar {find_bar_number(grid, position, sample_rate)}"
        events.append((tick, mido.MetaMessage("marker", text=text)))
    events.append((end, mido.MetaMessage("end_of_track")))
    track = mido.MidiTrack()
    for (previous, _), (tick, message) in itertools.pairwise([events[0], *events]):
        track.append(message.copy(time=tick - previous))
    file = mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track], charset="utf-8")
    buffer = io.BytesIO()
    file.save(file=buffer)
    files.write_buffer(path, buffer)


def find_bar_number(grid: Grid, position: float, sample_rate: int) -> int:
    """Returns the number of the bar that begins at a sample."""
    assert grid.first_downbeat is not None
    return 1 + round((position - grid.first_downbeat) / grid.bar_samples(sample_rate))


def _find_lead(grid: Grid, sample_rate: int) -> tuple[float, int]:
    """Returns the samples before the first bar line of the MIDI file, and their whole beats."""
    assert grid.first_downbeat is not None
    bar = grid.bar_samples(sample_rate)
    lead = grid.first_downbeat % bar
    if min(lead, bar - lead) < 0.5:  # samples
        return 0.0, 0
    beats = round(lead / bar * BEATS_PER_BAR)
    return (lead, beats) if beats else (lead + bar, BEATS_PER_BAR)


def _make_metre(mido: Any, tick: int, tempo: int, beats: int) -> list[tuple[int, Any]]:
    return [
        (tick, mido.MetaMessage("set_tempo", tempo=tempo)),
        (tick, mido.MetaMessage("time_signature", numerator=beats, denominator=4)),
    ]


def _name_midi_key(key: str) -> str:
    """Returns MIDI's name of a key, which has flats for some: "A# major" is "Bb"."""
    name = format_key(key)
    return _FLAT_KEYS.get(name, name)
