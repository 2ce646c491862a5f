"""Datasets in a bucket are read by ranges, and hold what the local ones hold."""

import numpy as np
import pytest

from jukejax.common import bucket_cache, mirrors, storage
from jukejax.data import corpus, shard_checks, shard_index
from tests.support.object_server import BUCKET, Fault
from tests.support.small_codes import write_codes

URL = f"s3://{BUCKET}/codes"


@pytest.fixture
def codes(object_server, tmp_path, monkeypatch):
    """A local dataset, and the same in a bucket; blocks of 16 kB, of which it has some."""
    monkeypatch.setattr(bucket_cache, "BLOCK", 1 << 14)
    folder = write_codes(tmp_path / "codes")
    for path in folder.iterdir():
        storage.upload(path, f"{URL}/{path.name}")
    object_server.inject()
    return folder


def assert_same(remote, local):
    for split in ("train", "heldout"):
        assert remote.tracks(split) == local.tracks(split)
        for i in range(len(local.tracks(split))):
            for ours, theirs in zip(
                remote.read_codes(split, i), local.read_codes(split, i), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_a_dataset_in_a_bucket_is_read_by_ranges(object_server, codes):
    remote = corpus.open_dataset(URL)
    assert remote.tracks("train")[0].name == "t1"
    opened = [line for line in object_server.list_requests() if "tfrecord" in line]
    assert opened == []
    assert_same(remote, corpus.open_dataset(codes))
    shards = [path for path in codes.iterdir() if path.suffix == ".tfrecord"]
    blocks = sum(-(-path.stat().st_size // bucket_cache.BLOCK) for path in shards)
    ranges = [line for line in object_server.list_requests() if "tfrecord" in line]
    assert len(ranges) == blocks  # each once
    assert not any(path.suffix == ".tfrecord" for path in remote.folder.iterdir())


def test_a_dataset_without_index_is_the_same(object_server, codes):
    storage.remove_file(f"{URL}/{shard_index.NAME}")
    remote = corpus.open_dataset(URL)
    assert_same(remote, corpus.open_dataset(codes))
    assert shard_checks.find_damage(remote) is None


def test_faults_while_reading_change_nothing(object_server, codes):
    remote = corpus.open_dataset(URL)
    kinds = ("503", "cut", "latency", "cut", "503")
    object_server.inject(*(Fault(kind, "GET", "tfrecord$", count=2) for kind in kinds))
    assert_same(remote, corpus.open_dataset(codes))
    assert len(object_server.list_injected()) == 2 * len(kinds)


def test_a_bucket_out_of_reach_is_one_line_with_the_shard(object_server, codes, monkeypatch):
    remote = corpus.open_dataset(URL)
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    object_server.inject(Fault("503", "GET", "train-00000.*tfrecord$", count=1000))
    message = f"^{URL}/train-00000-of-00001.tfrecord cannot be read"
    with pytest.raises(storage.StorageError, match=message):
        remote.read_codes("train", 0)


def test_a_folder_without_dataset_is_named_as_in_the_bucket(object_server):
    with pytest.raises(ValueError, match=r"has no dataset\.json") as error:
        corpus.open_dataset(f"{URL}-nowhere")
    assert mirrors.restore_names(str(error.value)).startswith(f"{URL}-nowhere has no dataset.json")
