"""Batches of windows: positions, processes, resuming."""

import subprocess
import sys

import numpy as np
import pytest

from jukejax.data import corpus, epochs, pipeline
from tests.support.ramp_tracks import LENGTHS, WINDOW, make_window


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
        np.testing.assert_array_equal(batch["audio"][i % 2, :, 0], make_window(track, start))


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
