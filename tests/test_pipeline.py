"""Shards to batches: every window, its place, its share, its resumption."""

import subprocess
import sys

import numpy as np
import pytest

from jukejax.data import corpus, pipeline, records
from jukejax.data.labels import Vocabulary

WINDOW = 50_000
LENGTHS = (500_000, 131_072, 49_999, 262_150, 150_000)


def ramp(track, samples, channels):
    """int16 that tell where they are: the track in the first channel's offset, then the time."""
    time = (np.arange(samples) % 16384) * 2 - 16384
    return np.stack([time + track] * channels, axis=1).astype(np.int16)


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    with corpus.DatasetWriter(
        folder, kind="audio", vocabulary=Vocabulary(), shard_bytes=1 << 20, separator="none"
    ) as writer:
        for i, length in enumerate(LENGTHS):
            writer.add("train", corpus.Track(f"t{i}"), audio=ramp(i, length, 1 + i % 2))
        writer.add("heldout", corpus.Track("h"), audio=ramp(0, 300_000, 2))
    return folder


def expected(track, start):
    return ramp(track, LENGTHS[track], 1)[start : start + WINDOW, 0] / np.float32(32768)


def places(batches):
    """(track, start) of each window, by what it holds: the start only modulo 16384."""
    result = []
    for batch in batches:
        for track, sound in zip(batch["track"], batch["audio"], strict=True):
            result.append((int(track), int(round(sound[0, 0] * 32768 - track + 16384) // 2)))
    return result


def test_evaluation_is_every_whole_window_in_order(audio_folder):
    batches = list(
        pipeline.audio_windows(
            audio_folder, "train", window=WINDOW, batch_size=2, shuffle=False, repeat=False
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


def test_training_crops_lie_anywhere_and_read_true(audio_folder):
    iterator = pipeline.audio_windows(audio_folder, "train", window=WINDOW, batch_size=4, seed=1)
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
    iterator = pipeline.audio_windows(audio_folder, "train", window=WINDOW, batch_size=5)
    epochs = [np.concatenate([next(iterator)["track"] for _ in range(4)]) for _ in range(3)]
    for epoch in epochs:
        assert np.bincount(epoch).tolist() == [10, 2, 0, 5, 3]
    assert not np.array_equal(epochs[0], epochs[1])


def test_crops_of_an_epoch_spread_over_the_track_evenly():
    tracks = (corpus.Track("a", samples=1_000_000),)
    windows = pipeline.plan_windows(tracks, size=100_000, grid=128, split="train", key="window")
    random = np.random.RandomState(0)
    starts = np.array([[windows.start(i, random.rand()) for i in range(10)] for _ in range(2000)])
    assert starts.min() == 0
    assert starts.max() == (900_000 // 128) * 128
    assert not (starts % 128).any()
    histogram, _ = np.histogram(starts, bins=9, range=(0, 900_000))
    np.testing.assert_allclose(histogram, histogram.mean(), rtol=0.08)
    np.testing.assert_array_less(starts[:, :-1], starts[:, 1:] + 128)


@pytest.mark.parametrize("stop", [1, 3, 7, 13])
def test_resuming_is_exact_in_mid_epoch(audio_folder, stop):
    def start():
        return pipeline.audio_windows(audio_folder, "train", window=WINDOW, batch_size=3, seed=5)

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


def test_a_seed_is_a_stream(audio_folder):
    def first(seed, threads=2):
        return next(
            pipeline.audio_windows(
                audio_folder, "train", window=WINDOW, batch_size=8, seed=seed, num_threads=threads
            )
        )["audio"]

    np.testing.assert_array_equal(first(0), first(0, threads=0))
    assert not np.array_equal(first(0), first(1))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_an_epoch_without_overlap(audio_folder, count):
    shares = []
    for index in range(count):
        iterator = pipeline.audio_windows(
            audio_folder,
            "train",
            window=WINDOW,
            batch_size=2,
            shuffle=False,
            repeat=False,
            process_index=index,
            process_count=count,
        )
        shares.append(places(iterator))
    together = sorted(place for share in shares for place in share)
    order = [(t, s % 16384) for t in range(5) for s in range(0, LENGTHS[t] - WINDOW + 1, WINDOW)]
    assert len({len(share) for share in shares}) == 1
    assert together == sorted(order[: 20 // (2 * count) * 2 * count])


def test_shuffled_processes_cover_an_epoch_without_overlap(audio_folder):
    counts = np.zeros(5, int)
    for index in range(2):
        iterator = pipeline.audio_windows(
            audio_folder, "train", window=WINDOW, batch_size=5, process_index=index, process_count=2
        )
        for _ in range(2):
            counts += np.bincount(next(iterator)["track"], minlength=5)
    assert counts.tolist() == [10, 2, 0, 5, 3]


def test_too_short_and_too_few_say_the_numbers(audio_folder):
    with pytest.raises(ValueError, match=r"none of the 5 train tracks holds a window of 500001"):
        pipeline.audio_windows(audio_folder, "train", window=500_001, batch_size=1)
    with pytest.raises(
        ValueError, match=r"has 20 windows and a batch needs 42 .data.batch_size 21"
    ):
        pipeline.audio_windows(audio_folder, "train", window=WINDOW, batch_size=21, process_count=2)
    with pytest.raises(ValueError, match="codes is needed here"):
        pipeline.code_windows(audio_folder, "train", level=2, seq_len=8, batch_size=1)


def test_a_flipped_bit_stops_the_iterator_and_is_named(audio_folder, tmp_path):
    for path in audio_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = next(tmp_path.glob("train-00000-of-*.tfrecord"))
    damaged = bytearray(path.read_bytes())
    damaged[200_000] ^= 4
    path.write_bytes(damaged)
    iterator = pipeline.audio_windows(
        tmp_path, "train", window=WINDOW, batch_size=1, shuffle=False, repeat=False
    )
    with pytest.raises(ValueError, match=rf"{path.name}: record 0 is damaged"):
        list(iterator)


TOPS = (3000, 700, 1024)


@pytest.fixture(scope="module")
def code_folder(tmp_path_factory):
    """Codes that tell their place: the top-level index they lie under, modulo 2048."""
    folder = tmp_path_factory.mktemp("codes")
    vocabulary = Vocabulary.build(["A", "B"], ["dub", "house"])
    with corpus.DatasetWriter(
        folder, kind="codes", vocabulary=vocabulary, codebook_size=2048, vqvae="x"
    ) as writer:
        for i, top in enumerate(TOPS):
            index = (np.arange(top) + 100 * i) % 2048
            levels = {f"level_{k}": np.repeat(index, 128 // h) for k, h in enumerate(records.HOPS)}
            track = corpus.Track(
                f"t{i}", artist="AB?"[i] if i < 2 else "", genre=("house",)[: i + 1]
            )
            writer.add("train", track, **levels)
    return folder


@pytest.mark.parametrize("level", [0, 1, 2])
def test_levels_line_up_and_labels_tell_where(code_folder, level):
    seq_len = 512
    iterator = pipeline.code_windows(
        code_folder, "train", level=level, seq_len=seq_len, batch_size=4, max_genres=3, seed=2
    )
    hop = records.HOPS[level]
    ratio = 128 // hop
    starts = set()
    for _ in range(10):
        batch = next(iterator)
        assert batch["codes"].shape == (4, seq_len)
        assert batch["codes"].dtype == batch["labels"].dtype == np.int32
        for row in range(4):
            track, label = int(batch["track"][row]), batch["labels"][row].tolist()
            total, offset, length, artist, *genres = label
            assert (total, length) == (TOPS[track] * 128, seq_len * hop)
            assert offset % 128 == 0
            assert 0 <= offset <= total - length
            assert artist == (1, 2, 0)[track]
            assert genres == [2, -1, -1]
            index = (offset // 128 + np.arange(seq_len // ratio) + 100 * track) % 2048
            np.testing.assert_array_equal(batch["codes"][row], np.repeat(index, ratio))
            starts.add((track, offset))
            if level < 2:
                assert batch["upper_codes"].shape == (4, seq_len // 4)
                np.testing.assert_array_equal(
                    batch["upper_codes"][row], np.repeat(index, ratio // 4)
                )
    assert ("upper_codes" in batch) == (level < 2)
    assert len(starts) > 20


def test_code_evaluation_is_in_order(code_folder):
    iterator = pipeline.code_windows(
        code_folder, "train", level=2, seq_len=500, batch_size=1, shuffle=False, repeat=False
    )
    places_ = [(int(b["track"][0]), int(b["labels"][0, 1]) // 128) for b in iterator]
    assert places_ == [*((0, s) for s in range(0, 3000, 500)), (1, 0), (2, 0), (2, 500)]


def test_code_windows_refuse_what_does_not_fit(code_folder):
    with pytest.raises(ValueError, match="seq_len 510 at level 0 must be a multiple of 16"):
        pipeline.code_windows(code_folder, "train", level=0, seq_len=510, batch_size=1)
    with pytest.raises(ValueError, match="level 3 does not exist"):
        pipeline.code_windows(code_folder, "train", level=3, seq_len=512, batch_size=1)
    with pytest.raises(ValueError, match="none of the 0 heldout tracks"):
        pipeline.code_windows(code_folder, "heldout", level=2, seq_len=512, batch_size=1)


def test_the_pipeline_does_not_import_tensorflow():
    code = "import sys, jukejax.data.pipeline; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
