"""The selection of windows."""

import numpy as np

from jukejax.data import corpus, epochs


def test_few_windows_are_spread_over_tracks_and_positions():
    tracks = tuple(corpus.Track(f"t{i}", samples=n * 10) for i, n in enumerate((100, 3, 0, 40, 8)))
    windows = epochs.cut_windows_of_tracks(
        tracks, size=10, grid=1, split="heldout", key="data.window"
    )
    chosen = epochs.spread_windows(windows, 23)
    assert len(set(chosen.tolist())) == 23
    assert (np.diff(chosen) > 0).all()
    assert np.bincount(windows.track[chosen], minlength=5).tolist() == [7, 3, 0, 6, 7]
    positions = windows.order[chosen][windows.track[chosen] == 0]
    assert np.diff(positions).min() >= 14
    np.testing.assert_array_equal(epochs.spread_windows(windows, 151), np.arange(151))
    assert windows.track[epochs.spread_windows(windows, 2)].tolist() == [1, 4]
