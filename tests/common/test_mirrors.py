"""Objects of a real S3 server: their retries, copies and cache."""

import numpy as np
import pytest

from jukejax.common import bucket_cache, files, mirrors, storage
from tests.support.object_server import BUCKET, Fault

URL = f"s3://{BUCKET}"


def write_object(name, data):
    storage.store_bytes(data, f"{URL}/{name}")
    return storage.list_objects(f"{URL}/{name}")[""]


def read_all(url):
    return {
        name: storage.read_range(entry.url, 0, entry.size)
        for name, entry in storage.list_objects(url).items()
    }


@pytest.mark.parametrize("kind", ["latency", "503", "cut"])
def test_a_fault_while_reading_is_repaired(object_server, kind):
    data = np.random.default_rng(0).bytes(300_000)
    entry = write_object(f"read-{kind}", data)
    object_server.inject(Fault(kind, "GET", f"read-{kind}$", count=2))
    for _ in range(2):
        assert storage.read_range(entry.url, 1000, 299_000) == data[1000:299_000]
    assert len(object_server.list_injected()) == 2


@pytest.mark.parametrize("kind", ["latency", "503", "cut", "dead"])
def test_a_fault_while_writing_is_repaired(object_server, kind):
    data = np.random.default_rng(1).bytes(300_000)
    object_server.inject(Fault(kind, "PUT", f"write-{kind}$", count=2))
    for _ in range(2):
        storage.store_bytes(data, f"{URL}/write-{kind}")
    assert len(object_server.list_injected()) == 2
    assert storage.read_range(f"{URL}/write-{kind}", 0, len(data)) == data


def test_an_upload_that_dies_leaves_the_old_object_and_one_line(object_server, monkeypatch):
    write_object("kept", b"old")
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    object_server.inject(Fault("dead", "PUT", "kept$", count=1000))
    with pytest.raises(OSError, match=f"^{URL}/kept cannot be written \\(attempt 2,") as error:
        storage.store_bytes(b"new" * 1000, f"{URL}/kept")
    assert "\n" not in str(error.value)
    object_server.inject()
    assert storage.read_range(f"{URL}/kept", 0, 3) == b"old"


def test_a_missing_object_is_named_at_once(object_server):
    object_server.inject()
    with pytest.raises(FileNotFoundError, match=f"{URL}/nothing cannot be read"):
        storage.read_range(f"{URL}/nothing", 0, 1)
    assert len(object_server.list_requests()) < 4


def test_an_output_folder_is_stored_as_its_copy_is_left(object_server):
    url = f"{URL}/out"
    write_object("out/old.json", b"{}")
    write_object("out/log", b"a\n")
    with mirrors.open_output(url) as folder:
        assert (folder / "old.json").read_text() == "{}"
        files.write_json(folder / "new.json", {"a": 1})
        assert read_all(url)["new.json"] == (folder / "new.json").read_bytes()  # at once
        (folder / "old.json").unlink()
        with open(folder / "log", "a") as file:
            file.write("b\n")
        (folder / ".x.tmp").write_text("unfinished")
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / "late").write_bytes(b"1")
    assert sorted(read_all(url)) == ["log", "new.json", "sub/late"]
    assert read_all(url)["log"] == b"a\nb\n"
    assert not folder.exists()


def test_a_folder_is_stored_although_its_block_fails(object_server):
    def fail():
        with mirrors.open_output(f"{URL}/failed") as folder:
            files.store_bytes(folder / "a", b"1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert read_all(f"{URL}/failed") == {"a": b"1"}


def test_an_input_follows_its_bucket_and_leaves_shards_there(object_server):
    url = f"{URL}/in"
    for name in ("a.json", "b.json", "x.tfrecord", "checkpoints/3/state/d"):
        write_object(f"in/{name}", name.encode())
    folder = mirrors.open_input(url)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert names == ["a.json", "b.json"]
    assert mirrors.find_object(folder / "x.tfrecord").size == len("x.tfrecord")
    mirrors.fetch(folder / "x.tfrecord")
    assert (folder / "x.tfrecord").read_text() == "x.tfrecord"
    assert mirrors.find_object(folder / "x.tfrecord") is None
    write_object("in/a.json", b"changed")
    storage.remove_file(f"{url}/b.json")
    assert mirrors.open_input(url) == folder
    assert (folder / "a.json").read_bytes() == b"changed"
    assert not (folder / "b.json").exists()
    assert mirrors.restore_names(f"{folder}/a.json is damaged") == f"{url}/a.json is damaged"


def test_a_checkpoint_without_its_mark_is_no_part_of_a_folder(object_server):
    for name in (f"1/{mirrors.MARK}", "1/about/a", "2/about/a"):
        write_object(f"marks/checkpoints/{name}", b"1")
    folder = mirrors.open_input(f"{URL}/marks")
    assert (folder / "checkpoints" / "1" / "about" / "a").exists()
    assert not (folder / "checkpoints" / "2").exists()


def test_the_cache_of_blocks_is_bounded_and_serves_again(object_server, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket_cache, "BLOCK", 1000)
    data = np.random.default_rng(2).bytes(20_500)
    entry = write_object("blocks", data)
    cache = bucket_cache.BlockCache(tmp_path, 10_000)
    for start, end in ((0, 20_500), (999, 1001), (20_000, 20_500), (3, 4)):
        assert cache.read(entry, start, end) == data[start:end]
        kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert 0 < kept <= 10_000
    object_server.inject()
    assert cache.read(entry, 20_100, 20_400) == data[20_100:20_400]
    assert object_server.list_requests() == []
    replaced = write_object("blocks", data[::-1])
    assert cache.read(replaced, 20_100, 20_400) == data[::-1][20_100:20_400]


def test_a_size_of_the_cache_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(bucket_cache.SIZE, "much")
    with pytest.raises(ValueError, match="JUKEJAX_BUCKET_CACHE_GB=much must be a number of GB"):
        bucket_cache.find_limit()
