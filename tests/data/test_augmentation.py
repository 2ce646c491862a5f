"""Augmentation of windows of audio: the blend of the channels, gain, mute."""

import numpy as np
import pytest

from jukejax.data import corpus, pipeline, reading
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from tests.support.ramp_tracks import WINDOW, make_window


@pytest.fixture(scope="module")
def stereo_folder(tmp_path_factory):
    """Left is 8192 everywhere, right is 0, and a mono track is 4096."""
    folder = tmp_path_factory.mktemp("stereo")
    with DatasetWriter(folder, kind="audio", vocabulary=Vocabulary(), separator="none") as writer:
        sound = np.full((40_000, 2), 8192, np.int16) * np.array([1, 0], np.int16)
        writer.add("train", corpus.Track("stereo"), audio=sound)
        writer.add("train", corpus.Track("mono"), audio=np.full((40_000, 1), 4096, np.int16))
    return folder


def test_aug_blend_draws_the_share_of_the_left_channel_for_each_example(stereo_folder):
    iterator = pipeline.read_audio_batches(
        stereo_folder,
        "train",
        window=1000,
        batching=pipeline.Batching(batch_size=80, aug_blend=True, seed=3),
    )
    shares = []
    for _ in range(8):
        batch = next(iterator)
        sound = batch["audio"][..., 0]
        np.testing.assert_array_equal(sound[batch["track"] == 1], 0.125)
        stereo = sound[batch["track"] == 0]
        np.testing.assert_array_equal(stereo, stereo[:, :1].repeat(1000, axis=1))
        shares.append(4 * stereo[:, 0])  # 8192 is a quarter of full scale
    shares = np.sort(np.concatenate(shares))
    assert len(set(shares.tolist())) == len(shares) == 320
    np.testing.assert_allclose(shares, (np.arange(320) + 0.5) / 320, atol=0.1)  # U[0, 1)


def test_evaluation_is_never_augmented(stereo_folder):
    iterator = pipeline.read_audio_batches(
        stereo_folder,
        "train",
        window=1000,
        batching=pipeline.Batching(batch_size=1, aug_blend=True, shuffle=False),
    )
    np.testing.assert_array_equal(next(iterator)["audio"], 0.125)


def test_the_shares_of_the_channels_add_up_to_one(audio_folder):
    dataset = corpus.open_dataset(audio_folder)
    track = dataset.tracks("train")[1]
    assert track.channels == 2  # both the same ramp: no blend changes it
    out = np.empty(WINDOW, np.float32)
    for blend in (None, 0.0, 0.3, 1.0):
        reading.fill_audio_window(dataset, "train", track, 70_000, out, blend)
        np.testing.assert_allclose(out, make_window(1, 70_000), atol=1e-7)


def read_level(folder, **changes):
    """Returns 60 windows [60, WINDOW]."""
    batching = pipeline.Batching(batch_size=20, seed=4, **changes)
    batches = pipeline.read_audio_batches(folder, "train", window=WINDOW, batching=batching)
    return np.concatenate([next(batches)["audio"][..., 0] for _ in range(3)])


def test_aug_gain_changes_the_level_of_each_example(audio_folder):
    plain, changed = read_level(audio_folder), read_level(audio_folder, aug_gain=6.0)
    gains = (plain * changed).sum(axis=1) / np.square(plain).sum(axis=1)
    np.testing.assert_allclose(changed, gains[:, None] * plain, atol=1e-6)
    decibels = 20 * np.log10(gains)
    assert -6 <= decibels.min() < -5
    assert 5 < decibels.max() <= 6
    quiet = np.full(4, 0.1, np.float32)
    reading.change_level(quiet, 2.0, None)
    np.testing.assert_allclose(quiet, 0.2)
    reading.change_level(quiet, 100.0, None)
    np.testing.assert_allclose(quiet, 1.0)


def test_aug_mute_silences_a_stretch_of_some_examples(audio_folder):
    plain, changed = read_level(audio_folder), read_level(audio_folder, aug_mute=0.5)
    silent = (changed == 0) & (plain != 0)
    lengths = silent.sum(axis=1)
    assert 20 <= (lengths > 0).sum() <= 40
    assert lengths.max() <= WINDOW / 2 + 2  # the ramps begin at zero
    same = changed == plain
    for row in np.flatnonzero(lengths > 1):
        first, last = np.flatnonzero(silent[row])[[0, -1]]
        assert silent[row, first : last + 1].mean() > 0.99  # a zero of the music itself is neither
        assert same[row, : max(first - 256, 0)].all()
        assert same[row, last + 257 :].all()


def test_a_mute_has_ramps_also_at_the_edges_of_a_window():
    for mute in ((0, 100), (100, 200), (900, 1000), (400, 600)):
        window = np.ones(1000, np.float32)
        reading.change_level(window, 1.0, mute)
        assert not window[slice(*mute)].any()
        assert np.abs(np.diff(window)).max() <= 1.5 / 256
