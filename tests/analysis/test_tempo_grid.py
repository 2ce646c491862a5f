"""Tempo, downbeat and key of whole tracks with known grids."""

import mir_eval
import numpy as np
import pytest

from jukejax.analysis import tempo_grid
from jukejax.preparation import house
from tests.analysis.test_rhythm import play_kicks
from tests.support.house_tracks import house_track

RATE = 44_100


def wrap(distance, period):
    """Returns a distance modulo a period, between minus and plus half of it."""
    return (distance + period / 2) % period - period / 2


def play_clicks(bpm, *, first, seconds=30.0, rate=RATE):
    """Returns clicks of 5 ms of noise, the first at the sample `first`, in quiet noise."""
    random = np.random.RandomState(0)
    sound = 1e-4 * random.standard_normal(int(seconds * rate))
    click = random.standard_normal(rate // 200) * np.linspace(1, 0, rate // 200)
    for start in np.arange(first, len(sound) - len(click), 60 / bpm * rate):
        sound[round(start) : round(start) + len(click)] += 0.5 * click
    return sound.astype(np.float32)


def measure_track(track, cut):
    """Returns the estimate for a track without its first `cut` samples, and its errors.

    The errors are the ratio of the tempos minus one, milliseconds from a downbeat, and the MIREX
    score of the key.
    """
    grid = tempo_grid.estimate_grid(track.mix.mean(axis=1)[cut:], RATE)
    if grid.bpm is None:
        return grid, np.inf, np.inf, mir_eval.key.weighted_score(track.key, grid.key or "X")
    bar = 240 / track.bpm * RATE
    distance = wrap(grid.first_downbeat + cut, bar) * 1000 / RATE
    score = mir_eval.key.weighted_score(track.key, grid.key or "X")
    return grid, abs(grid.bpm / track.bpm - 1), abs(distance), score


@pytest.mark.parametrize(("bpm", "first"), [(123.4, 9_000), (97.37, 20_001), (174.0, 0)])
def test_clicks_are_placed_within_3_ms_and_a_hundredth_of_a_percent(bpm, first):
    grid = tempo_grid.estimate_grid(play_clicks(bpm, first=first), RATE)
    assert grid.is_constant
    assert grid.bpm == pytest.approx(bpm, rel=1e-4)
    assert abs(wrap(grid.first_downbeat - first, 60 / bpm * RATE)) < 0.003 * RATE
    assert grid.bpm_confidence > 0.9


def test_the_last_beat_of_five_minutes_is_placed_within_3_ms():
    rate, bpm = 22_050, 126.37
    grid = tempo_grid.estimate_grid(play_clicks(bpm, first=777, seconds=300, rate=rate), rate)
    beats = int(290 * bpm / 60)
    estimated = grid.first_downbeat + beats * 60 / grid.bpm * rate
    expected = 777 + beats * 60 / bpm * rate
    assert abs(wrap(estimated - expected, 60 / bpm * rate)) < 0.003 * rate


@pytest.mark.parametrize("index", range(4))
def test_house_tracks_have_the_grid_of_their_labels(index):
    track = house_track(index, seconds=20.0, seed=1)
    cut = 30_000 * index + 1234
    grid, tempo_error, downbeat_error, _ = measure_track(track, cut)
    assert tempo_error < 0.001
    assert downbeat_error < 20
    assert 0 <= grid.first_downbeat < 240 / grid.bpm * RATE
    assert grid.bpm_confidence > 0.5


def test_blocks_give_the_estimate_of_the_whole():
    mono = house_track(0, seconds=20.0, seed=1).mix.mean(axis=1)
    whole = tempo_grid.estimate_grid(mono, RATE)
    blocks = tempo_grid.estimate_grid(iter(np.split(mono, [1, 100_000, 100_001])), RATE)
    assert blocks.bpm == pytest.approx(whole.bpm, rel=1e-6)
    assert blocks.first_downbeat == pytest.approx(whole.first_downbeat, abs=1)
    assert blocks.key == whole.key


@pytest.mark.parametrize("second_bpm", [121.5, 126.0, 135.0, 97.0])
def test_a_change_of_tempo_is_recognized(second_bpm):
    times = np.concatenate([np.arange(0, 30, 0.5), 30 + np.arange(0, 30, 60 / second_bpm)])
    grid = tempo_grid.estimate_grid(play_kicks(times), RATE)
    assert not grid.is_constant
    assert grid.bpm is None
    assert grid.first_downbeat is None


def test_a_rhythm_in_groups_of_three_is_not_taken_for_two_thirds_of_its_tempo():
    strokes = [i for i, c in enumerate(12 * "x..x..x.x..x.xx.") if c == "x"]  # eighths
    grid = tempo_grid.estimate_grid(play_kicks(np.array(strokes) * 30 / 170), RATE)
    assert grid.bpm == pytest.approx(170, rel=1e-4)
    assert grid.bpm_confidence > 0.9


def test_a_drifting_tempo_is_recognized():
    times = np.cumsum(0.5 * np.linspace(0.98, 1.02, 150))
    assert not tempo_grid.estimate_grid(play_kicks(times), RATE).is_constant


def test_noise_and_drones_have_no_clear_tempo():
    noise = np.random.RandomState(0).standard_normal(30 * RATE).astype(np.float32)
    drone = np.sin(2 * np.pi * 110 * np.arange(30 * RATE) / RATE).astype(np.float32)
    for sound in (0.1 * noise, 0.3 * drone):
        grid = tempo_grid.estimate_grid(sound, RATE)
        assert grid.bpm is None or grid.bpm_confidence < 0.3


@pytest.mark.parametrize("length", [0, 1, 1000, RATE, 4 * RATE, 5 * RATE])
def test_silence_and_very_short_sounds_have_no_grid(length):
    silence = tempo_grid.estimate_grid(np.zeros(length, np.float32), RATE)
    assert (silence.bpm, silence.first_downbeat, silence.key) == (None, None, None)
    tempo_grid.estimate_grid(play_clicks(120.0, first=0, seconds=8.0)[:length], RATE)


@pytest.fixture(scope="module")
def hundred():
    """Errors of tempo, downbeat (ms) and key (score) on 100 tracks, float64 [100] each."""
    random = np.random.RandomState(7)
    errors = []
    for i in range(100):
        track = house.track(i, seconds=45.0, seed=7)
        errors.append(measure_track(track, random.randint(0, 4 * RATE))[1:])
    return np.array(errors).T


@pytest.mark.slow
def test_tempo_and_downbeat_of_a_hundred_house_tracks(hundred):
    tempo, downbeat, _ = hundred
    counts = np.sum(tempo < 0.001), np.sum(downbeat < 20)
    print(f"tempo within 0.1 %: {counts[0]}; downbeat within 20 ms: {counts[1]}")
    assert counts[0] >= 98
    assert counts[1] >= 95


@pytest.mark.slow
def test_key_of_a_hundred_house_tracks(hundred):
    print(f"MIREX key score: {hundred[2].mean():.3f}")
    assert hundred[2].mean() >= 0.85
