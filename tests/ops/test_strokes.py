"""Noise of log magnitudes of "strokes"."""

import jax.numpy as jnp
import numpy as np

from jukejax.ops import bands, strokes

RATE = 44100


def test_noise_under_the_tones_is_that_of_attacks_only():
    logs = jnp.full((1, 256, bands.count_bands("strokes", 0, 900)), 2.0)
    steady = strokes.synthesize_strokes(
        logs, 0, 900, jnp.int32(0), attacks_below=2300, sample_rate=RATE
    )
    attack = strokes.synthesize_strokes(
        logs.at[:, 128].add(2.0), 0, 900, jnp.int32(0), attacks_below=2300, sample_rate=RATE
    )
    inside = np.asarray(steady[0, 64 * 128 : 192 * 128])
    assert np.abs(inside).max() < 1e-3
    assert np.abs(np.asarray(attack[0, 64 * 128 : 192 * 128])).max() > 0.05
