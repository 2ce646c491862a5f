"""Rhythm figures of music with known tempo, beats and bars."""

import numpy as np
import pytest

from jukejax.analysis import rhythm
from jukejax.preparation import house
from jukejax.preparation.house import drums, synth
from tests.support import control
from tests.support.house_tracks import house_track

RATE = 44_100


def play_kicks(times):
    """Returns a sound with a kick at each time in seconds."""
    kick = drums.kick(drums.Kit(), np.random.RandomState(0))
    out = synth.silence(int((times[-1] + 1) * RATE))
    for time in times:
        synth.add(out, kick, round(time * RATE))
    return out.astype(np.float32)


def measure_tracks(sounds):
    return [rhythm.measure_rhythm(sound, RATE) for sound in sounds]


@pytest.fixture(scope="module")
def measured():
    """Returns pairs of (track, rhythm) of house tracks and of control tracks."""
    house_tracks = [house_track(i) for i in range(6)]
    control_tracks = [control.track(i, seconds=16.0, seed=3) for i in range(8)]
    return (
        list(zip(house_tracks, measure_tracks(x.mix for x in house_tracks), strict=True)),
        list(zip(control_tracks, measure_tracks(x.audio for x in control_tracks), strict=True)),
    )


def test_the_tempo_of_house_tracks_is_correct_within_a_hundredth(measured):
    for track, figures in measured[0]:
        assert figures.bpm == pytest.approx(track.bpm, rel=0.002), track.artist


def test_four_on_the_floor_separates_house_from_the_control(measured):
    house_clarity = [figures.four_on_the_floor for _, figures in measured[0]]
    control_clarity = [figures.four_on_the_floor or 0.0 for _, figures in measured[1]]
    assert min(house_clarity) > 0.4  # basses are nearly as loud as the kick, in its band
    assert max(control_clarity) < 0.3


def test_beats_are_where_the_kicks_are_even_if_hats_between_them_are_louder():
    times = np.arange(0, 20, 60 / 124)
    sound = 0.5 * play_kicks(times)
    hat = np.random.default_rng(0).standard_normal(4000) * np.exp(-np.arange(4000) / 1500)
    for time in times[:-1] + 30 / 124:
        start = round(time * RATE)
        sound[start : start + len(hat)] += 0.5 * hat
    figures = rhythm.measure_rhythm(sound, RATE)
    nearest = np.abs(figures.beats[None] - times[2:-3, None]).min(axis=1)
    assert nearest.max() < 0.02


@pytest.mark.parametrize("bpm", [64.0, 90.5, 128.3, 174.0])
def test_the_tempo_of_a_kick_is_measured_at_any_bpm(bpm):
    times = np.arange(0, 20, 60 / bpm)
    figures = rhythm.measure_rhythm(play_kicks(times), RATE)
    assert figures.bpm == pytest.approx(bpm, rel=0.002)
    assert figures.beat_spread < 1.0
    assert figures.drift < 0.3
    nearest = np.abs(figures.beats[None] - times[2:-3, None]).min(axis=1)
    assert nearest.max() < 0.02


def test_a_rising_tempo_is_measured_as_drift():
    # From 120 to 126 BPM: the mean is 123.
    tempo = np.linspace(120, 126, 80)
    figures = rhythm.measure_rhythm(play_kicks(np.cumsum(60 / tempo)), RATE)
    assert figures.bpm == pytest.approx(123, rel=0.005)
    assert 1.5 < figures.drift < 3.0
    times, local = figures.local
    slope = np.polyfit(times, local, 1)[0]
    assert slope == pytest.approx(6 / (80 * 60 / 123), rel=0.15)


def test_random_beat_times_are_measured_as_spread():
    random = np.random.default_rng(0)
    even = np.arange(60) * 0.5
    figures = rhythm.measure_rhythm(play_kicks(even + random.normal(0, 0.01, 60) + 0.1), RATE)
    # Beats with standard deviation s have intervals with s * sqrt(2): 2.8 % of 0.5 s.
    assert 1.8 < figures.beat_spread < 4.0
    assert figures.drift < 1.0


def test_bars_that_repeat_every_fourth_bar_are_similar_at_that_lag():
    figures = rhythm.measure_rhythm(control.track(6, seconds=45.0).audio, RATE)
    similarity = figures.self_similarity  # an arpeggio over four chords, a bar each
    assert min(similarity[4], similarity[8], similarity[16]) > 0.8
    assert similarity[1] < 0.3


def test_noise_has_no_tempo_and_silence_no_pulse():
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    figures = rhythm.measure_rhythm(noise, RATE)
    assert figures.bpm is None
    assert figures.pulse < rhythm.NO_PULSE
    for sound, pulse in (
        (np.zeros(5 * RATE, np.float32), 0.0),
        (np.full(5 * RATE, 0.3, np.float32), 0.0),
        (noise[: 2 * RATE], None),
    ):
        table = rhythm.measure_rhythm(sound, RATE).to_dict()
        assert table.pop("pulse") == pulse
        assert set(table.values()) == {None}


def test_level_and_channels_do_not_matter():
    track = house_track(2)
    expected_figures = rhythm.measure_rhythm(track.mix, RATE).to_dict()
    soft_figures = rhythm.measure_rhythm(0.1 * track.mix.mean(axis=1), RATE).to_dict()
    assert soft_figures.keys() == expected_figures.keys()
    for name, value in expected_figures.items():
        expected = None if value is None else pytest.approx(value, rel=1e-3, abs=1e-3)
        assert soft_figures[name] == expected, name


def test_the_control_is_deterministic_and_checks_its_arguments():
    first, second = (control.track(3, seconds=5.0, seed=7).audio for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() <= control.PEAK
    assert first.shape == (5 * RATE, 2)
    with pytest.raises(ValueError, match="4 s or more"):
        control.track(0, seconds=1.0)
    with pytest.raises(ValueError, match="0 or more"):
        control.track(-1)


@pytest.mark.slow
def test_tempo_of_a_hundred_tracks_and_four_on_the_floor_of_as_many():
    """Checks the tempo within 1 % on 95 of 100 tracks, and separates house from other music."""
    clear, unclear, hits = [], [], 0
    for i in range(100):
        track = house.track(i, seconds=30.0, seed=11)
        figures = rhythm.measure_rhythm(track.mix, RATE)
        hits += figures.bpm is not None and abs(figures.bpm / track.bpm - 1) <= 0.01
        clear.append(figures.four_on_the_floor or 0.0)
        other = rhythm.measure_rhythm(control.track(i, seconds=30.0, seed=11).audio, RATE)
        unclear.append(other.four_on_the_floor or 0.0)
    assert hits >= 95, hits
    assert min(clear) > max(unclear), (sorted(clear)[:5], sorted(unclear)[-5:])
