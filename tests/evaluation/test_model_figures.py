"""Loudness, seams, distances of distributions and bootstrap, against answers known by hand."""

import numpy as np
import pytest

from jukejax.analysis import distribution, fidelity, loudness
from jukejax.analysis.seams import seam_figures
from jukejax.evaluation import bootstrap

RATE = 44_100


def sine(hz, seconds=3.0, phase=0.0, channels=2):
    time = np.arange(round(seconds * RATE)) / RATE
    return np.repeat(np.sin(2 * np.pi * hz * time + phase)[:, None], channels, axis=1)


def test_loudness_of_the_calibration_tone():
    # ITU-R BS.1770: a 0 dBFS sine of 997 Hz in one channel is -3.01 LKFS, in both 0 LKFS.
    assert loudness.loudness(sine(997)) == pytest.approx(0.0, abs=0.05)
    assert loudness.loudness(0.1 * sine(997)) == pytest.approx(-20, abs=0.05)
    assert loudness.loudness(np.zeros((RATE, 2))) is None


def test_the_true_peak_lies_between_the_samples():
    # At a quarter of the sample rate and 45 degrees all samples are at 0.707 of the peak.
    tone = sine(RATE / 4, phase=np.pi / 4)
    faded = tone * np.hanning(len(tone))[:, None]  # no edges that ring
    assert 20 * np.log10(np.abs(faded).max()) == pytest.approx(-3.01, abs=0.01)
    assert loudness.true_peak_db(faded) == pytest.approx(0, abs=0.05)


def test_a_long_sound_is_oversampled_in_pieces_with_the_same_peak(monkeypatch):
    sound = np.random.default_rng(0).normal(0, 0.1, (3 * RATE, 2)).astype(np.float32)
    whole = loudness.true_peak_db(sound)
    monkeypatch.setattr(loudness, "_BLOCK", 10_000)
    assert loudness.true_peak_db(sound) == pytest.approx(whole, abs=1e-3)


def test_silence_clipping_and_dc_are_counted():
    sound = 0.5 * sine(200, 2.0)
    sound[RATE:] = 0
    assert loudness.silent_share(sound) == pytest.approx(0.5, abs=0.03)
    assert loudness.dc_offset(sound + np.array([0.0, -0.25])) == pytest.approx(0.25, abs=1e-3)
    clean = 0.9 * sine(200)
    assert loudness.clipped_share(clean) == 0
    clipped = np.clip(1.2 * sine(200), -1, 1)
    share = 2 / np.pi * np.arccos(1 / 1.2)  # of its time a sine is above 1 / 1.2 of its peak
    assert loudness.clipped_share(clipped) == pytest.approx(share, rel=0.05)
    touching = clean.copy()
    touching[100] = 1.0  # a single sample at full scale is no clipped peak
    assert loudness.clipped_share(touching) == 0
    assert set(loudness.figures(clean)) == {
        "loudness_lufs",
        "true_peak_db",
        "silent",
        "clipped",
        "dc",
    }


def test_a_cut_is_a_seam_and_a_smooth_place_is_none():
    random = np.random.default_rng(0)
    sound = np.convolve(random.normal(0, 0.05, 20 * RATE), np.ones(8) / 8, "same")
    smooth = seam_figures(sound, RATE, [5 * RATE, 10 * RATE, 15 * RATE])
    assert smooth.flux_ratio == pytest.approx(1, abs=0.15)
    assert smooth.jump_db_at < 1.5
    click = sound.copy()
    for border in (5, 10, 15):
        click[border * RATE : border * RATE + 40] += 0.8
    heard = seam_figures(click, RATE, [5 * RATE, 10 * RATE, 15 * RATE])
    assert heard.flux_ratio > 2
    assert heard.flux_elsewhere == pytest.approx(smooth.flux_elsewhere, rel=0.02)
    louder = sound.copy()
    louder[10 * RATE :] *= 2
    jump = seam_figures(louder, RATE, [10 * RATE])
    assert jump.jump_db_at == pytest.approx(6.02, abs=0.8)
    assert jump.jump_db_elsewhere < 1.5


def test_a_sound_without_borders_has_only_the_rest():
    sound = np.random.default_rng(0).normal(0, 0.05, (RATE, 2))
    found = seam_figures(sound, RATE, [0, RATE, 5 * RATE])
    assert found.flux_at is None
    assert found.flux_ratio is None
    assert found.flux_elsewhere > 0


def test_frechet_distance_of_known_gaussians():
    random = np.random.default_rng(0)
    scales = np.array([1.0, 2.0, 0.5])
    a = random.normal(size=(200_000, 3))
    b = random.normal(size=(200_000, 3)) * scales + [1.0, 0.0, -2.0]
    expected = 5 + np.square(scales - 1).sum()
    assert distribution.frechet_distance(a, b) == pytest.approx(expected, rel=0.02)
    assert distribution.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_the_textbook_one_also_with_fewer_rows_than_features():
    import scipy.linalg

    random = np.random.default_rng(0)
    for rows in (30, 5):
        a, b = random.normal(size=(rows, 8)), random.normal(size=(rows + 2, 8)) * 1.5 + 0.3
        ours = distribution.frechet_distance(a, b)
        first, second = np.cov(a.T), np.cov(b.T)
        tiny = 1e-12 * np.eye(8)
        root = scipy.linalg.sqrtm((first + tiny) @ (second + tiny)).real
        shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
        theirs = shift + np.trace(first) + np.trace(second) - 2 * np.trace(root)
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_kernel_distance_is_unbiased_and_grows_with_a_shift():
    random = np.random.default_rng(0)
    same = [
        distribution.kernel_distance(random.normal(size=(20, 4)), random.normal(size=(20, 4)))
        for _ in range(300)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    near, far = (
        distribution.kernel_distance(
            random.normal(size=(200, 4)) + shift, random.normal(size=(200, 4))
        )
        for shift in (0.5, 1.0)
    )
    assert 0.1 < near < far
    with pytest.raises(ValueError, match="at least 2"):
        distribution.kernel_distance(np.ones((1, 4)), np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"\[N, E\]"):
        distribution.frechet_distance(np.ones((3, 4)), np.ones((5, 3)))


def test_mel_statistics_tell_dull_from_bright():
    random = np.random.default_rng(0)

    def pieces(width):
        kernel = np.ones(width) / width
        noise = random.normal(0, 0.1, (6, RATE))
        found = [np.convolve(x, kernel, "same") for x in noise]
        return np.stack([distribution.mel_statistics(fidelity.log_mel(x, RATE)) for x in found])

    dull, dull_again, bright = pieces(16), pieces(16), pieces(1)
    between = distribution.frechet_distance(dull, bright)
    assert between > 20 * distribution.frechet_distance(dull, dull_again)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        found = bootstrap.interval(random.normal(3, 2, 40), draws=300, seed=trial)
        hits += found.low <= 3 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_intervals_of_little():
    assert bootstrap.interval([None, float("nan")]) is None
    assert bootstrap.interval([None, 2.0]) == (2.0, 2.0, 2.0, 1)
    assert bootstrap.floor([1.0]) is None
    assert bootstrap.floor([1.0, 3.0]) == pytest.approx(2.0)


def test_halves_share_no_track_and_are_of_one_size():
    for first, second in bootstrap.halves(7, draws=20):
        assert len(first) == len(second) == 3
        assert not set(first) & set(second)


def test_the_floor_shrinks_with_more_tracks():
    random = np.random.default_rng(0)
    few, many = random.normal(size=8), random.normal(size=800)
    # Two halves of n/2 normal figures differ by 2 / sqrt(n) * sqrt(2 / pi) on average.
    assert bootstrap.floor(many) == pytest.approx(2 / np.sqrt(800) * np.sqrt(2 / np.pi), rel=0.25)
    assert bootstrap.floor(few) > 5 * bootstrap.floor(many)


def test_a_feature_that_hardly_moves_does_not_outweigh_the_others():
    scaled = distribution.standardiser(np.array([[1.0, 7.0], [3.0, 7.0]]))
    np.testing.assert_allclose(scaled(np.array([[4.0, 9.0]])), [[2.0, 4.0]])
    random = np.random.default_rng(0)
    reference = random.normal(0, [1, 1, 1, 1e-9], (50, 4))
    other = random.normal(0, [1, 1, 1, 1e-2], (50, 4))
    scaled = distribution.standardiser(reference)
    near = distribution.frechet_distance(scaled(other), scaled(reference))
    assert near < 1
