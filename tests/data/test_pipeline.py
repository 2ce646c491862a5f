"""Batches of windows: positions, augmentation, processes, resuming."""

import subprocess
import sys

import numpy as np
import pytest

from jukejax.data import corpus, epochs, pipeline, reading
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter

WINDOW = 50_000
LENGTHS = (500_000, 131_072, 49_999, 262_150, 150_000)


def ramp(track, samples, channels):
    """int16 samples from which track and time can be read: the time, offset by the track."""
    time = (np.arange(samples) % 16384) * 2 - 16384
    return np.stack([time + track] * channels, axis=1).astype(np.int16)


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    with DatasetWriter(
        folder, kind="audio", vocabulary=Vocabulary(), shard_bytes=1 << 20, separator="none"
    ) as writer:
        for i, length in enumerate(LENGTHS):
            writer.add("train", corpus.Track(f"t{i}"), audio=ramp(i, length, 1 + i % 2))
        writer.add("heldout", corpus.Track("h"), audio=ramp(0, 300_000, 2))
    return folder


def expected(track, start):
    return ramp(track, LENGTHS[track], 1)[start : start + WINDOW, 0] / np.float32(32768)


def places(batches):
    """(track, start) of each window, read from its samples: the start only modulo 16384."""
    result = []
    for batch in batches:
        for track, sound in zip(batch["track"], batch["audio"], strict=True):
            result.append((int(track), int(round(sound[0, 0] * 32768 - track + 16384) // 2)))
    return result


def test_evaluation_is_every_whole_window_in_order(audio_folder):
    batches = list(
        pipeline.read_audio_batches(
            audio_folder,
            "train",
            window=WINDOW,
            batching=pipeline.Batching(batch_size=2, shuffle=False, repeat=False),
        )
    )
    order = [(t, s) for t in range(5) for s in range(0, LENGTHS[t] - WINDOW + 1, WINDOW)]
    assert len(order) == 20
    assert len(batches) == 10
    for i, (track, start) in enumerate(order):
        batch = batches[i // 2]
        assert batch["audio"].shape == (2, WINDOW, 1)
        assert batch["audio"].dtype == np.float32
        assert batch["track"].dtype == np.int32
        assert batch["track"][i % 2] == track
        np.testing.assert_array_equal(batch["audio"][i % 2, :, 0], expected(track, start))


def test_training_crops_start_anywhere_and_hold_their_samples(audio_folder):
    iterator = pipeline.read_audio_batches(
        audio_folder, "train", window=WINDOW, batching=pipeline.Batching(batch_size=4, seed=1)
    )
    starts = []
    for _ in range(25):
        batch = next(iterator)
        for track, sound in zip(batch["track"], batch["audio"], strict=True):
            assert track != 2  # shorter than a window
            time = np.round(sound[:, 0] * 32768 - track + 16384) / 2
            np.testing.assert_array_equal(np.diff(time) % 16384, 1)
            starts.append(time[0])
    assert len(set(starts)) > 90


def test_every_epoch_has_each_track_as_often_as_it_has_windows(audio_folder):
    iterator = pipeline.read_audio_batches(
        audio_folder, "train", window=WINDOW, batching=pipeline.Batching(batch_size=5)
    )
    epochs = [np.concatenate([next(iterator)["track"] for _ in range(4)]) for _ in range(3)]
    for epoch in epochs:
        assert np.bincount(epoch).tolist() == [10, 2, 0, 5, 3]
    assert not np.array_equal(epochs[0], epochs[1])


def test_crops_of_an_epoch_spread_over_the_track_evenly():
    tracks = (corpus.Track("a", samples=1_000_000),)
    windows = epochs.cut_windows_of_tracks(
        tracks, size=100_000, grid=128, split="train", key="window"
    )
    random = np.random.RandomState(0)
    starts = np.array([[windows.start(i, random.rand()) for i in range(10)] for _ in range(2000)])
    assert starts.min() == 0
    assert starts.max() == (900_000 // 128) * 128
    assert not (starts % 128).any()
    histogram, _ = np.histogram(starts, bins=9, range=(0, 900_000))
    np.testing.assert_allclose(histogram, histogram.mean(), rtol=0.08)
    np.testing.assert_array_less(starts[:, :-1], starts[:, 1:] + 128)


def test_without_aug_shift_windows_keep_to_their_grid_in_shuffled_order(audio_folder):
    iterator = pipeline.read_audio_batches(
        audio_folder,
        "train",
        window=WINDOW,
        batching=pipeline.Batching(batch_size=20, aug_shift=False),
    )
    order = [(t, s % 16384) for t in range(5) for s in range(0, LENGTHS[t] - WINDOW + 1, WINDOW)]
    first, second = places([next(iterator)]), places([next(iterator)])
    assert sorted(first) == sorted(second) == sorted(order)
    assert first != second


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
        np.testing.assert_allclose(out, expected(1, 70_000), atol=1e-7)


@pytest.mark.parametrize("stop", [1, 3, 7, 13])
def test_resuming_is_exact_in_mid_epoch(audio_folder, stop):
    def start():
        return pipeline.read_audio_batches(
            audio_folder,
            "train",
            window=WINDOW,
            batching=pipeline.Batching(batch_size=3, seed=5, aug_blend=True),
        )

    whole = start()
    for _ in range(stop):
        next(whole)
    state = whole.get_state()
    rest = [next(whole) for _ in range(8)]
    resumed = start()
    resumed.set_state(state)
    for batch in rest:
        again = next(resumed)
        np.testing.assert_array_equal(again["audio"], batch["audio"])
        np.testing.assert_array_equal(again["track"], batch["track"])


def test_a_seed_determines_the_batches(audio_folder):
    def first(seed, threads=2):
        return next(
            pipeline.read_audio_batches(
                audio_folder,
                "train",
                window=WINDOW,
                batching=pipeline.Batching(batch_size=8, seed=seed, num_threads=threads),
            )
        )["audio"]

    np.testing.assert_array_equal(first(0), first(0, threads=0))
    assert not np.array_equal(first(0), first(1))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_an_epoch_without_overlap(audio_folder, count):
    shares = []
    for index in range(count):
        iterator = pipeline.read_audio_batches(
            audio_folder,
            "train",
            window=WINDOW,
            batching=pipeline.Batching(
                batch_size=2 * count,
                shuffle=False,
                repeat=False,
                rows=np.arange(2 * index, 2 * index + 2),
            ),
        )
        shares.append(places(iterator))
    together = sorted(place for share in shares for place in share)
    order = {(t, s % 16384) for t in range(5) for s in range(0, LENGTHS[t] - WINDOW + 1, WINDOW)}
    assert len({len(share) for share in shares}) == 1
    assert len(set(together)) == len(together) == 20 // (2 * count) * 2 * count
    assert order >= set(together)


def test_shuffled_processes_cover_an_epoch_without_overlap(audio_folder):
    counts = np.zeros(5, int)
    for index in range(2):
        iterator = pipeline.read_audio_batches(
            audio_folder,
            "train",
            window=WINDOW,
            batching=pipeline.Batching(batch_size=10, rows=np.arange(index, 10, 2)),
        )
        for _ in range(2):
            counts += np.bincount(next(iterator)["track"], minlength=5)
    assert counts.tolist() == [10, 2, 0, 5, 3]


def test_processes_together_read_the_augmented_batches_of_one_process(audio_folder):
    def start(rows):
        return pipeline.read_audio_batches(
            audio_folder,
            "train",
            window=WINDOW,
            batching=pipeline.Batching(batch_size=6, seed=9, aug_blend=True, rows=rows),
        )

    whole, shares = start(None), [start(np.arange(3)), start(np.arange(3, 6))]
    for _ in range(12):  # more than three epochs of 20 windows
        batch, parts = next(whole), [next(share) for share in shares]
        for key in batch:
            together = np.concatenate([part[key] for part in parts])
            np.testing.assert_array_equal(together, batch[key])


def test_errors_on_short_tracks_and_few_windows_give_the_numbers(audio_folder):
    with pytest.raises(ValueError, match=r"none of the 5 train tracks holds a window of 500001"):
        pipeline.read_audio_batches(
            audio_folder, "train", window=500_001, batching=pipeline.Batching(batch_size=1)
        )
    with pytest.raises(ValueError, match=r"has 20 windows and a batch needs 42 .data.batch_size."):
        pipeline.read_audio_batches(
            audio_folder, "train", window=WINDOW, batching=pipeline.Batching(batch_size=42)
        )
    with pytest.raises(ValueError, match="that of encode is needed here"):
        pipeline.read_code_batches(
            audio_folder, "train", level=2, seq_len=8, batching=pipeline.Batching(batch_size=1)
        )


def test_a_flipped_bit_stops_the_iterator_and_is_named(audio_folder, tmp_path):
    for path in audio_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = next(tmp_path.glob("train-00000-of-*.tfrecord"))
    damaged = bytearray(path.read_bytes())
    damaged[200_000] ^= 4
    path.write_bytes(damaged)
    iterator = pipeline.read_audio_batches(
        tmp_path,
        "train",
        window=WINDOW,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    with pytest.raises(ValueError, match=rf"{path.name}: record 0 is damaged"):
        list(iterator)


@pytest.mark.slow  # without TensorFlow, as by default, all of this file shows it
def test_the_pipeline_does_not_import_tensorflow():
    code = "import sys, jukejax.data.pipeline; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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
