"""Click tracks and MIDI files lie on the grid of their track."""

import mido
import numpy as np
import pytest

from jukejax.data.grid import KEYS, Grid, format_key, parse_key
from jukejax.sampling.tempo_map import render_click, write_tempo_map

RATE = 44100
BAR = 4 * 60 * RATE / 124  # samples at 124 BPM


def list_markers(path):
    """Returns {number of the bar: seconds from the start} of a MIDI file, by its tempi."""
    markers, seconds = {}, 0.0
    for message in mido.MidiFile(path, charset="utf-8"):
        seconds += message.time
        if message.type == "marker":
            markers[int(message.text.removeprefix("Bar "))] = seconds
    return markers, seconds


@pytest.mark.parametrize("downbeat", [0.0, 1.3 * RATE, 0.6 * BAR, 2.5 * BAR, -0.5 * BAR, -7 * BAR])
def test_markers_are_at_the_bars_and_the_file_ends_with_the_sound(tmp_path, downbeat):
    samples = round(10.3 * BAR)
    write_tempo_map(tmp_path / "a.mid", Grid(124, downbeat), samples, RATE, "take")
    markers, end = list_markers(tmp_path / "a.mid")
    expected = {
        number: (downbeat + (number - 1) * BAR) / RATE
        for number in range(-20, 40)
        if -0.5 <= downbeat + (number - 1) * BAR < samples
    }
    assert markers.keys() == expected.keys()
    for number, seconds in expected.items():
        assert markers[number] == pytest.approx(seconds, abs=2e-4)
    assert end == pytest.approx(samples / RATE, abs=1e-3)


def test_bar_line_soon_after_the_start_needs_no_absurd_tempo(tmp_path):
    """10 ms before bar 1: its marker is left out, and bar 2 is in its place."""
    write_tempo_map(tmp_path / "a.mid", Grid(124, 441.0), round(4 * BAR), RATE, "take")
    markers, _ = list_markers(tmp_path / "a.mid")
    assert min(markers) == 2
    assert markers[2] == pytest.approx((441 + BAR) / RATE, abs=2e-4)
    tempi = [m.tempo for m in mido.MidiFile(tmp_path / "a.mid").tracks[0] if m.type == "set_tempo"]
    assert all(100 < mido.tempo2bpm(tempo) < 150 for tempo in tempi)


def test_track_that_is_shorter_than_a_bar_has_a_file(tmp_path):
    write_tempo_map(tmp_path / "a.mid", Grid(60, 3.0 * RATE), RATE, RATE, "take")
    assert list_markers(tmp_path / "a.mid")[0] == {}


@pytest.mark.parametrize("key", KEYS[1:])
def test_every_key_has_a_signature(tmp_path, key):
    write_tempo_map(tmp_path / "a.mid", Grid(124, 0.0, key), RATE, RATE, "Söhne")
    messages = list(mido.MidiFile(tmp_path / "a.mid", charset="utf-8").tracks[0])
    names = [message.key for message in messages if message.type == "key_signature"]
    assert [parse_key(name) for name in names] == [key]
    assert parse_key(format_key(key)) == key
    assert messages[0].name == "Söhne"


@pytest.mark.parametrize("downbeat", [0.0, 0.7 * RATE, -1.1 * BAR])
def test_clicks_are_on_the_beats_and_downbeats_are_louder(downbeat):
    samples = 6 * RATE
    click = render_click(Grid(124, downbeat), samples, RATE)
    assert click.shape == (samples, 1)
    assert np.abs(click).max() < 1
    level = np.abs(click[:, 0])
    beats = downbeat + BAR / 4 * np.arange(-20, 40)
    inside = (beats >= 0) & (beats < samples)
    for position, number in zip(beats[inside], np.arange(-20, 40)[inside], strict=True):
        near = level[round(position) : round(position) + 500]
        assert near.max() > 0.5 if number % 4 == 0 else 0.1 < near.max() < 0.4
        assert level[max(round(position) - 300, 0) : round(position)].max(initial=0) == 0
