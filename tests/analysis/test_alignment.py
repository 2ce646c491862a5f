"""Constant shifts are found to the sample, and none where there is none."""

import numpy as np
import pytest

from jukejax.analysis import alignment

RATE = 8000


def make_music(seconds=4.0, seed=0):
    """Plays a bar of noise hits again and again, with other notes over it."""
    random = np.random.default_rng(seed)
    beat = random.normal(size=RATE // 2) * np.exp(-np.arange(RATE // 2) / 400)
    loop = np.tile(beat, round(2 * seconds))
    return loop + 0.3 * random.normal(size=len(loop))


@pytest.mark.parametrize("shift", [1, 300, 7990, -1, -4321])
def test_a_shift_is_found_to_the_sample_also_softer_and_inverted(shift):
    music = make_music()
    whole = np.concatenate([make_music(1.0, 1), music, make_music(1.0, 2)])
    output = -0.3 * whole[RATE - shift : RATE - shift + len(music)]
    assert alignment.find_shift(music, output, RATE) == shift
    target, aligned = alignment.align(music, output, shift)
    assert len(target) == len(aligned) == len(music) - abs(shift)
    np.testing.assert_allclose(aligned, -0.3 * target)


def test_sounds_without_a_constant_shift_have_none():
    music = make_music()
    drifting = np.interp(np.arange(len(music)) * 1.01, np.arange(len(music)), music)
    noise = np.random.default_rng(5).normal(size=len(music))
    for output in (music, 0.5 * music, music + 0.5 * noise, noise, drifting, 0 * music, music[:1]):
        assert alignment.find_shift(music, output, RATE) == 0
    assert alignment.find_shift(0 * music, music, RATE) == 0
