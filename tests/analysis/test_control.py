"""Asked against measured tempo, beats and key, on tracks whose grid is known."""

import numpy as np
import pytest

from jukejax.analysis import control
from jukejax.data.grid import Grid
from jukejax.preparation import house

RATE = 44100


@pytest.fixture(scope="module")
def track():
    return house.track(3, seconds=16.0, seed=5)


@pytest.fixture(scope="module")
def mono(track):
    return track.mix.mean(axis=1)


def test_a_track_on_its_grid_is_a_hit(track, mono):
    figures = control.measure_control(mono, RATE, Grid(track.bpm, 0.0, track.key))
    assert figures["asked_tempo_error"] < 0.1
    assert figures["asked_tempo_hit"] == figures["asked_beat_hit"] == 1.0
    assert figures["asked_beat_offset"] < 6
    assert figures["asked_drift"] < 0.05
    assert figures["asked_beat_f"] > 0.8


@pytest.mark.parametrize("late", [0.02, 0.1, -0.15])
def test_offsets_are_measured(track, mono, late):
    grid = Grid(track.bpm, -late * RATE)
    figures = control.measure_control(mono, RATE, grid)
    assert figures["asked_beat_offset"] == pytest.approx(1000 * abs(late), abs=6)
    assert figures["asked_beat_hit"] == float(abs(late) < 0.03)


def test_another_tempo_is_no_hit_and_drifts(track, mono):
    figures = control.measure_control(mono, RATE, Grid(1.015 * track.bpm, 0.0))
    assert figures["asked_tempo_error"] == pytest.approx(100 * (1 - 1 / 1.015), abs=0.1)
    assert figures["asked_tempo_hit"] == 0.0
    assert figures["asked_drift"] > 0.5


def test_noise_and_silence_are_no_hits():
    noise = 0.1 * np.random.default_rng(0).standard_normal(12 * RATE).astype(np.float32)
    for sound in (noise, np.zeros(12 * RATE, np.float32)):
        figures = control.measure_control(sound, RATE, Grid(124.0, 0.0, "A minor"))
        assert figures["asked_tempo_hit"] == 0.0
        assert figures["asked_beat_f"] < 0.6


def test_an_abrupt_join_ranks_above_a_musical_one(track):
    grid, bar = Grid(track.bpm, 0.0), round(240 * RATE / track.bpm)
    section = track.instrumental[2 * bar : 6 * bar]
    musical = control.measure_loop(section, RATE, grid)
    spoiled = section.copy()
    spoiled[-bar // 4 :] = 0  # a gap before the join
    abrupt = control.measure_loop(spoiled, RATE, grid)
    assert abrupt["loop_level_rank"] == 1.0
    assert abrupt["loop_hit"] == 0.0
    assert musical["loop_level_rank"] < 1.0
