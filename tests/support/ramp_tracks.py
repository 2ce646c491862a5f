"""Tracks whose samples tell their number and their time, for tests of windows."""

import numpy as np

WINDOW = 50_000
LENGTHS = (500_000, 131_072, 49_999, 262_150, 150_000)


def make_ramp(track, samples, channels):
    """Makes int16 samples from which track and time can be read: the time, offset by the track."""
    time = (np.arange(samples) % 16384) * 2 - 16384
    return np.stack([time + track] * channels, axis=1).astype(np.int16)


def make_window(track, start):
    """Makes the window of a track that begins at `start`, as it is read."""
    return make_ramp(track, LENGTHS[track], 1)[start : start + WINDOW, 0] / np.float32(32768)
