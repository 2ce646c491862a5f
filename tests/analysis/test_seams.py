"""Figures at joins of windows, against sounds with known faults."""

import numpy as np
import pytest

from jukejax.analysis.seams import measure_seams

RATE = 44_100


def test_clicks_and_steps_are_measured_and_smooth_sound_is_not():
    random = np.random.default_rng(0)
    sound = np.convolve(random.normal(0, 0.05, 20 * RATE), np.ones(8) / 8, "same")
    smooth = measure_seams(sound, RATE, [5 * RATE, 10 * RATE, 15 * RATE])
    assert smooth.flux_ratio == pytest.approx(1, abs=0.15)
    assert smooth.jump_db_at < 1.5
    click = sound.copy()
    for border in (5, 10, 15):
        click[border * RATE : border * RATE + 40] += 0.8
    clicks = measure_seams(click, RATE, [5 * RATE, 10 * RATE, 15 * RATE])
    assert clicks.flux_ratio > 2
    assert clicks.flux_elsewhere == pytest.approx(smooth.flux_elsewhere, rel=0.02)
    louder = sound.copy()
    louder[10 * RATE :] *= 2
    jump = measure_seams(louder, RATE, [10 * RATE])
    assert jump.jump_db_at == pytest.approx(6.02, abs=0.8)
    assert jump.jump_db_elsewhere < 1.5


def test_a_sound_without_borders_has_only_figures_elsewhere():
    sound = np.random.default_rng(0).normal(0, 0.05, (RATE, 2))
    figures = measure_seams(sound, RATE, [0, RATE, 5 * RATE])
    assert figures.flux_at is None
    assert figures.flux_ratio is None
    assert figures.flux_elsewhere > 0


def test_a_few_frames_elsewhere_are_no_measurement():
    """Of joins 0.2 s apart, hardly anything is away from a join."""
    sound = np.random.default_rng(0).normal(0, 0.05, 20 * RATE)
    close = measure_seams(sound, RATE, range(RATE // 5, 20 * RATE, RATE // 5))
    assert close.flux_at > 0
    assert close.num_joins == 99
    assert close.num_frames_elsewhere < 100
    assert (close.flux_elsewhere, close.flux_ratio, close.jump_db_elsewhere) == (None, None, None)
