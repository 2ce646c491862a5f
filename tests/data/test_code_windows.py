"""Batches of code windows: aligned levels, labels with the position in the piece."""

import numpy as np
import pytest

from jukejax.data import corpus, pipeline, records
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.models.label_config import LabelConfig

TOPS = (3000, 700, 1024)


@pytest.fixture(scope="module")
def code_folder(tmp_path_factory):
    """Codes from which their position can be read: the top-level index, modulo 2048."""
    folder = tmp_path_factory.mktemp("codes")
    vocabulary = Vocabulary.build(["A", "B"], ["dub", "house"])
    with DatasetWriter(
        folder, kind="codes", vocabulary=vocabulary, codebook_size=2048, vqvae={"hash": "x"}
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
    iterator = pipeline.read_code_batches(
        code_folder,
        "train",
        level=level,
        seq_len=seq_len,
        sizes=LabelConfig(num_artists=3, num_genres=3, max_genres=3),
        batching=pipeline.Batching(batch_size=4, seed=2),
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


@pytest.mark.parametrize("hops", [(16,), (32, 256), (4, 8, 32, 96)], ids=str)
def test_windows_of_any_number_of_levels_line_up(tmp_path, hops):
    """Codes hold the index of their first sample, in a track of several chunks."""
    top, tops = hops[-1], 2 * records.CHUNK // hops[-1] + 50
    sizes = dict(codebook_size=1 << 16, vqvae={"hash": "x"})
    with DatasetWriter(
        tmp_path, kind="codes", vocabulary=Vocabulary(), sample_rate=22_050, hops=hops, **sizes
    ) as writer:
        levels = {
            f"level_{k}": np.arange(tops * top // hop) * hop // hops[0] % (1 << 16)
            for k, hop in enumerate(hops)
        }
        writer.add("train", corpus.Track("t"), **levels)
    dataset = corpus.open_dataset(tmp_path)
    assert (dataset.table.sample_rate, dataset.table.hops) == (22_050, hops)
    assert dataset.tracks("train")[0].records == 3
    for k, codes in enumerate(dataset.read_codes("train", 0)):
        np.testing.assert_array_equal(codes, levels[f"level_{k}"])
    for level, hop in enumerate(hops):
        seq_len = 12 * top // hop
        batches = pipeline.read_code_batches(
            tmp_path,
            "train",
            level=level,
            seq_len=seq_len,
            batching=pipeline.Batching(batch_size=4),
        )
        batch = next(batches)
        assert ("upper_codes" in batch) == (level < len(hops) - 1)
        for row in range(4):
            _, start, length, *_ = batch["labels"][row]
            assert (start % top, length) == (0, 12 * top)
            for name, k in (("codes", level), ("upper_codes", level + 1)):
                if name in batch:
                    expected = (start + np.arange(length // hops[k]) * hops[k]) // hops[0]
                    np.testing.assert_array_equal(batch[name][row], expected % (1 << 16))


def test_a_reference_stands_beside_the_codes_above(tmp_path):
    info = dict(codebook_size=1 << 16, vqvae={"hash": "x"}, references=[1])
    tops = 2 * records.CHUNK // 128 + 50
    levels = {f"level_{k}": np.arange(tops * 128 // h) for k, h in enumerate(records.HOPS)}
    levels = {name: codes % 30_000 for name, codes in levels.items()}
    with DatasetWriter(tmp_path, kind="codes", vocabulary=Vocabulary(), **info) as writer:
        with pytest.raises(ValueError, match="takes level_0, level_1, level_2, reference_1"):
            writer.add("train", corpus.Track("t"), **levels)
        writer.add("train", corpus.Track("t"), **levels, reference_1=levels["level_1"] + 30_000)
    assert corpus.open_dataset(tmp_path).table.references == (1,)

    def read_batch(level):
        batches = pipeline.read_code_batches(
            tmp_path,
            "train",
            level=level,
            seq_len=64,
            reference=True,
            batching=pipeline.Batching(batch_size=4),
        )
        return next(batches)

    batch = read_batch(1)
    assert batch["upper_codes"].shape == (4, 16, 5)
    first = batch["labels"][:, 1] // 128
    np.testing.assert_array_equal(batch["upper_codes"][:, 0, 0], first)
    reference = batch["upper_codes"][..., 1:].reshape(4, -1)
    np.testing.assert_array_equal(reference, batch["codes"] + 30_000)
    with pytest.raises(ValueError, match=f"{tmp_path} has no reference of level 0, which model"):
        read_batch(0)


def test_labels_of_a_track_stored_without_its_start_count_from_the_start_of_the_piece(tmp_path):
    with DatasetWriter(
        tmp_path, kind="codes", vocabulary=Vocabulary(), codebook_size=2048, vqvae={"hash": "x"}
    ) as writer:
        for offset in (0, 64):
            levels = {f"level_{k}": np.zeros(600 * 128 // h) for k, h in enumerate(records.HOPS)}
            levels = {key: codes.astype(np.uint16) for key, codes in levels.items()}
            writer.add("train", corpus.Track("t", offset=offset), **levels)
    iterator = pipeline.read_code_batches(
        tmp_path,
        "train",
        level=1,
        seq_len=400,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    found = [(int(batch["track"][0]), *batch["labels"][0, :3].tolist()) for batch in iterator]
    size = 400 * 32
    assert found == [
        (track, 76_800 + offset, offset + start, size)
        for track, offset in enumerate((0, 64))
        for start in range(0, 76_800 - size + 1, size)
    ]


def test_code_evaluation_is_in_order(code_folder):
    iterator = pipeline.read_code_batches(
        code_folder,
        "train",
        level=2,
        seq_len=500,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    places_ = [(int(b["track"][0]), int(b["labels"][0, 1]) // 128) for b in iterator]
    assert places_ == [*((0, s) for s in range(0, 3000, 500)), (1, 0), (2, 0), (2, 500)]


def test_code_windows_can_keep_to_their_grid(code_folder):
    iterator = pipeline.read_code_batches(
        code_folder,
        "train",
        level=2,
        seq_len=500,
        batching=pipeline.Batching(batch_size=9, aug_shift=False),
    )
    batch = next(iterator)
    places_ = zip(batch["track"].tolist(), (batch["labels"][:, 1] // 128).tolist(), strict=True)
    assert sorted(places_) == [*((0, s) for s in range(0, 3000, 500)), (1, 0), (2, 0), (2, 500)]


def test_code_windows_refuse_what_does_not_fit(code_folder):
    with pytest.raises(ValueError, match="seq_len 510 at level 0 must be a multiple of 16"):
        pipeline.read_code_batches(
            code_folder, "train", level=0, seq_len=510, batching=pipeline.Batching(batch_size=1)
        )
    with pytest.raises(ValueError, match="level 3 does not exist"):
        pipeline.read_code_batches(
            code_folder, "train", level=3, seq_len=512, batching=pipeline.Batching(batch_size=1)
        )
    with pytest.raises(ValueError, match="none of the 0 heldout tracks"):
        pipeline.read_code_batches(
            code_folder, "heldout", level=2, seq_len=512, batching=pipeline.Batching(batch_size=1)
        )


def test_labels_that_the_model_cannot_take_are_counted_and_named(tmp_path):
    vocabulary = Vocabulary.build(["A", "B"], ["dub", "house", "techno"])
    with DatasetWriter(
        tmp_path, kind="codes", vocabulary=vocabulary, codebook_size=2048, vqvae={"hash": "x"}
    ) as writer:
        for name, genres in (("one", ("dub",)), ("two", ("dub", "house")), ("b", ("techno",))):
            codes = {
                f"level_{k}": np.zeros(600 * 128 // h, int) for k, h in enumerate(records.HOPS)
            }
            writer.add("train", corpus.Track(name, "B", genres), **codes)

    def open_windows(sizes):
        batching = pipeline.Batching(batch_size=1, shuffle=False)
        return pipeline.read_code_batches(
            tmp_path, "train", level=2, seq_len=500, sizes=sizes, batching=batching
        )

    for sizes, message in (
        ((3, 4, 1), r"1 of 3 train tracks; the first, two .*dub, house.* 2 genres .*max_genres=2"),
        ((3, 3, 2), r"1 of 3 train tracks; the first, b .*genre id 3 .* of 3 .*num_genres=4"),
        ((2, 4, 2), r"3 of 3 train tracks; the first, one .*artist id 2 .* of 2 .*num_artists=3"),
    ):
        with pytest.raises(ValueError, match=message):
            open_windows(LabelConfig(*sizes))
    assert next(open_windows(LabelConfig(3, 4, 2)))["labels"][0, 3:].tolist() == [2, 1, -1]
    assert next(open_windows(None))["labels"].shape == (1, 6)  # a model without labels takes all
