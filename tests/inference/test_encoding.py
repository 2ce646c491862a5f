"""Encoding of a dataset: several offsets, resumed runs, full disks."""

import dataclasses
import errno
import shutil

import numpy as np
import pytest

from jukejax.common import files, output_locks
from jukejax.data import corpus, pipeline, records
from jukejax.inference import encoding
from jukejax.inference.codec import Codec
from jukejax.inference.spans import ArraySound
from tests.support import small_codec
from tests.support.small_audio import write_audio

LENGTHS = {"train": (1.4, 0.2, 0.5), "heldout": (0.3,)}  # of the tracks, in seconds


@pytest.fixture(scope="module")
def codec():
    """A codec with windows of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jukejax.inference.codec.WINDOW_SECONDS", 1)
        return Codec(small_codec.DESCRIPTION, small_codec.weights())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return corpus.open_dataset(write_audio(tmp_path_factory.mktemp("audio"), LENGTHS))


def encode(codec, dataset, output, offsets=1):
    summary = encoding.encode_dataset(dataset, codec, output, offsets=offsets, batch_size=2)
    assert summary is not None
    return corpus.open_dataset(output)


def test_each_offset_of_a_training_track_is_the_track_without_its_start(codec, dataset, tmp_path):
    codes = encode(codec, dataset, tmp_path, offsets=3)
    assert codes.info["offsets"] == 3
    assert codes.info["vqvae"] == codec.identity
    assert codes.info["source"] == dataset.corpus_hash
    rows = [(track.name, track.offset) for track in codes.tracks("train")]
    assert rows == [(f"train{i}", offset) for i in range(3) for offset in (0, 42, 85)]
    assert [(track.name, track.offset) for track in codes.tracks("heldout")] == [("heldout0", 0)]
    for i, track in enumerate(codes.tracks("train")):
        sound = dataset.read_track("train", i // 3)[track.offset :].mean(axis=1)
        assert track.samples == len(sound) // 128 * 128
        ((_, expected),) = codec.encode_all([ArraySound(sound)], batch_size=2)
        for level, expected_level in zip(codes.read_codes("train", i), expected, strict=True):
            np.testing.assert_array_equal(level, expected_level)
    first, shifted = (codes.read_codes("train", i)[2] for i in range(2))
    assert np.mean(first[: len(shifted)] == shifted) < 0.9  # another phase, other codes


def test_windows_of_an_offset_are_labeled_by_the_whole_track(codec, dataset, tmp_path):
    encode(codec, dataset, tmp_path, offsets=2)
    windows = pipeline.read_code_batches(
        tmp_path,
        "train",
        level=2,
        seq_len=100,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    labels = {}
    for batch in windows:
        labels.setdefault(int(batch["track"][0]), tuple(batch["labels"][0, :3].tolist()))
    samples = int(1.4 * 44100)
    assert labels[0] == (samples // 128 * 128, 0, 12_800)
    assert labels[1] == ((samples - 64) // 128 * 128 + 64, 64, 12_800)


def test_only_missing_codes_are_encoded(codec, dataset, tmp_path, monkeypatch, capsys):
    versions = encoding.list_versions(dataset, 2, 128)
    seconds = encoding.encode_tracks(codec, versions[:3], tmp_path, 2)
    assert seconds == sum(version.samples for version in versions[:3]) / 44100
    damaged = versions[1].work_path(tmp_path, codec.identity["hash"])
    damaged.write_bytes(damaged.read_bytes()[:-200])
    encoded = []

    def record(sounds, **options):
        encoded.extend(sounds)
        return Codec.encode_all(codec, sounds, **options)

    monkeypatch.setattr(codec, "encode_all", record, raising=False)
    encoding.encode_tracks(codec, versions, tmp_path, 2)
    assert encoded == [versions[1], *versions[3:]]
    assert f"{damaged} is damaged" in capsys.readouterr().err
    other = versions[0].work_path(tmp_path, codec.identity["hash"])
    shutil.copyfile(other, damaged)
    encoded.clear()
    encoding.encode_tracks(codec, versions, tmp_path, 2)
    assert encoded == [versions[1]]  # codes of another length
    encoded.clear()
    encoding.encode_tracks(codec, versions, tmp_path, 2)
    assert not encoded


def test_work_files_are_named_by_model_corpus_track_and_offset(dataset, tmp_path):
    versions = encoding.list_versions(dataset, 4, 128)
    other = dataclasses.replace(dataset, info=dataset.info | {"corpus_hash": "another"})
    paths = {version.work_path(tmp_path, model) for version in versions for model in ("a", "b")}
    paths |= {version.work_path(tmp_path, "a") for version in encoding.list_versions(other, 4, 128)}
    assert len(paths) == 3 * len(versions) == 3 * 13


def test_full_disk_is_one_error_and_finished_tracks_are_kept(codec, dataset, tmp_path, monkeypatch):
    versions, write_bytes = encoding.list_versions(dataset, 1, 128), files.write_bytes
    writes = iter(range(2))

    def write_until_full(path, *parts, shared=False):
        if next(writes, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_bytes(path, *parts, shared=shared)

    monkeypatch.setattr(files, "write_bytes", write_until_full)
    with (
        pytest.raises(ValueError, match=r"the disk of .* is full; make room and run again"),
        output_locks.lock_output(tmp_path, "encode") as folder,
    ):
        encoding.encode_tracks(codec, versions, folder, 2)
    monkeypatch.undo()
    paths = [version.work_path(folder, codec.identity["hash"]) for version in versions]
    readable = [
        encoding.read_track_codes(path, version.samples, records.HOPS) is not None
        for path, version in zip(paths, versions, strict=True)
    ]
    assert readable == [True, True, False, False]
    encode(codec, dataset, tmp_path)


def test_only_one_process_encodes_into_a_folder(codec, dataset, tmp_path):
    with (
        output_locks.lock_output(tmp_path, "encode"),
        pytest.raises(ValueError, match="another encode is writing to"),
    ):
        encode(codec, dataset, tmp_path)


def test_a_corpus_that_changes_during_the_encoding_is_refused(
    codec, dataset, tmp_path, monkeypatch
):
    def prepare_again(*args):
        folder = tmp_path / "audio"
        write_audio(folder, {"train": (0.5,), "heldout": (0.3,)})
        return 1.0

    changing = dataclasses.replace(dataset, folder=tmp_path / "audio")
    shutil.copytree(dataset.folder, changing.folder)
    monkeypatch.setattr(encoding, "encode_tracks", prepare_again)
    with pytest.raises(ValueError, match="audio was changed during the encoding"):
        encode(codec, changing, tmp_path / "codes")
    assert not (tmp_path / "codes" / "dataset.json").exists()


def test_finished_dataset_is_identified_by_model_corpus_offsets_and_shards(
    codec, dataset, tmp_path
):
    info = encoding.describe_codes(dataset, codec, 1)
    assert not encoding.is_finished(tmp_path, info)
    codes = encode(codec, dataset, tmp_path)
    assert encoding.is_finished(tmp_path, info)
    assert not encoding.is_finished(tmp_path, info | {"offsets": 2})
    old, same = {"hash": codec.identity["hash"]}, {**codec.identity, "hash": "other layout"}
    another = {**codec.identity, "codes_hash": "another"}
    for vqvae, finished in ((old, True), (same, True), (another, False)):
        assert encoding.is_finished(tmp_path, info | {"vqvae": vqvae}) == finished
    shard = tmp_path / codes.info["splits"]["train"]["shards"][0]["file"]
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert not encoding.is_finished(tmp_path, info)
    shard.write_bytes(data[:-1])
    assert not encoding.is_finished(tmp_path, info)
    shard.write_bytes(data)
    assert encoding.is_finished(tmp_path, info)
