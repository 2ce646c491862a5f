"""Datasets on disk: splits, shards, round trips."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jukejax.data import corpus, records
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter

VOCABULARY = Vocabulary.build(["A", "B"], ["house"])


def sound(samples, channels=2, seed=0):
    shape = (samples, channels)
    return np.random.RandomState(seed).randint(-32768, 32768, shape).astype(np.int16)


def codes(top, size=2048, seed=0):
    random = np.random.RandomState(seed)
    return {
        f"level_{k}": random.randint(0, size, top * 128 // h) for k, h in enumerate((8, 32, 128))
    }


def write(folder, lengths, *, shard_bytes=1 << 20, channels=2):
    with DatasetWriter(
        folder, kind="audio", vocabulary=VOCABULARY, shard_bytes=shard_bytes, separator="none"
    ) as writer:
        for i, length in enumerate(lengths):
            split = "heldout" if i == 1 else "train"
            track = corpus.Track(f"t{i}", artist="A", genre=("house",), content=str(i), bpm=120.0)
            writer.add(split, track, audio=sound(length, channels, seed=i))
    return corpus.open_dataset(folder)


def test_tracks_are_read_complete_and_in_order(tmp_path):
    lengths = [300_000, 131_072, 5, 400_001]
    dataset = write(tmp_path / "d", lengths)
    assert [t.name for t in dataset.tracks("train")] == ["t0", "t2", "t3"]
    assert [t.records for t in dataset.tracks("train")] == [3, 1, 4]
    assert dataset.tracks("train")[0].genre == ("house",)
    assert dataset.tracks("train")[0].bpm == 120.0
    for split, i, seed in (("train", 0, 0), ("heldout", 0, 1), ("train", 1, 2), ("train", 2, 3)):
        np.testing.assert_array_equal(
            dataset.read_track(split, i), sound(lengths[seed], seed=seed) / np.float32(32768)
        )
    assert dataset.vocabulary == VOCABULARY


def test_full_shards_are_closed_and_named_with_their_number(tmp_path):
    dataset = write(tmp_path / "d", [300_000] * 5, shard_bytes=2 << 20)
    names = sorted(path.name for path in (tmp_path / "d").glob("train*"))
    assert names == [f"train-{i:05d}-of-00002.tfrecord" for i in range(2)]
    assert [track.shard for track in dataset.tracks("train")] == [0, 0, 1, 1]
    for shard in dataset.info["splits"]["train"]["shards"]:
        assert (tmp_path / "d" / shard["file"]).stat().st_size == shard["bytes"]
    assert sum(s["records"] for s in dataset.info["splits"]["train"]["shards"]) == 4 * 3


def test_the_same_tracks_give_the_same_bytes_and_a_new_dataset_replaces_the_old(tmp_path):
    write(tmp_path / "a", [300_000] * 5, shard_bytes=1 << 19)
    first = write(tmp_path / "a", [300_000] * 3)
    second = write(tmp_path / "b", [300_000] * 3)
    assert first.corpus_hash == second.corpus_hash
    files = [sorted(p.name for p in (tmp_path / d).iterdir()) for d in "ab"]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_other_labels_give_another_hash(tmp_path):
    first = write(tmp_path / "a", [3000] * 3)
    second = write(tmp_path / "b", [3000] * 2 + [3001])
    assert first.corpus_hash != second.corpus_hash


def test_codes_are_read_by_level(tmp_path):
    with DatasetWriter(
        tmp_path / "c",
        kind="codes",
        vocabulary=VOCABULARY,
        codebook_size=2048,
        vqvae={"hash": "abc"},
    ) as writer:
        writer.add("train", corpus.Track("t0", channels=2), **codes(1500))
        writer.add("train", corpus.Track("t1"), **codes(1024, seed=1))
    dataset = corpus.open_dataset(tmp_path / "c")
    assert dataset.info["vqvae"] == {"hash": "abc"}
    assert [t.samples for t in dataset.tracks("train")] == [1500 * 128, 1024 * 128]
    assert [t.records for t in dataset.tracks("train")] == [2, 1]
    for i, top in enumerate((1500, 1024)):
        for k, level in enumerate(dataset.read_codes("train", i)):
            assert level.dtype == np.uint16
            np.testing.assert_array_equal(level, codes(top, seed=i)[f"level_{k}"])
    assert dataset.tracks("heldout") == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level_0": np.zeros(17, int)}, r"level_0 has shape \(17,\)"),
        ({"level_1": np.full(40, 2048)}, r"level_1 holds codes outside \[0, 2048\)"),
    ],
)
def test_codes_that_do_not_fit_are_refused(tmp_path, change, message):
    with (
        pytest.raises(ValueError, match=message),
        DatasetWriter(
            tmp_path / "c", kind="codes", vocabulary=VOCABULARY, codebook_size=2048
        ) as writer,
    ):
        writer.add("train", corpus.Track("t0"), **(codes(10) | change))
    assert not list((tmp_path / "c").iterdir())


def test_reading_the_wrong_kind_is_refused(tmp_path):
    dataset = write(tmp_path / "d", [3000] * 2)
    with pytest.raises(ValueError, match="holds audio, not codes"):
        dataset.read_codes("train", 0)
    with pytest.raises(ValueError, match="no split 'test'"):
        dataset.tracks("test")


def test_an_unfinished_folder_is_not_a_dataset(tmp_path):
    with pytest.raises(ValueError, match=r"no dataset\.json"):
        corpus.open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        corpus.open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": 99, "chunk_samples": 1}))
    with pytest.raises(ValueError, match="format 99"):
        corpus.open_dataset(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    write(tmp_path / "d", [3000] * 2)
    (tmp_path / "d" / "train-00000-of-00001.tfrecord").unlink()
    with pytest.raises(ValueError, match=r"train-00000-of-00001\.tfrecord is missing"):
        corpus.open_dataset(tmp_path / "d").tracks("train")


def test_a_shard_cut_short_loses_its_last_record_with_a_warning(tmp_path, capsys):
    write(tmp_path / "d", [300_000, 10, 300_000], shard_bytes=1 << 30)
    path = tmp_path / "d" / "train-00000-of-00001.tfrecord"
    path.write_bytes(path.read_bytes()[:-5])
    dataset = corpus.open_dataset(tmp_path / "d")
    assert [t.samples for t in dataset.tracks("train")] == [300_000, 2 * records.CHUNK]
    assert "1 of its 6 records is lost" in capsys.readouterr().err
    np.testing.assert_array_equal(
        dataset.read_track("train", 1),
        sound(300_000, seed=2)[: 2 * records.CHUNK] / np.float32(32768),
    )


def test_a_writer_that_fails_leaves_the_old_dataset(tmp_path):
    old = write(tmp_path / "d", [3000] * 3)
    tracks = [sound(100), np.zeros((100, 2))]
    with (
        pytest.raises(ValueError, match="audio=int16"),
        DatasetWriter(tmp_path / "d", kind="audio", vocabulary=VOCABULARY) as writer,
    ):
        [writer.add("train", corpus.Track("t"), audio=track) for track in tracks]
    assert corpus.open_dataset(tmp_path / "d").corpus_hash == old.corpus_hash
    assert len(list((tmp_path / "d").iterdir())) == 7


def test_no_tensorflow_and_no_jax_for_a_corpus():
    code = "import sys, jukejax.data.corpus; assert not {'tensorflow', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
