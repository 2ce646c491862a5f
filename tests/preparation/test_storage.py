"""Buckets: a folder replaces Google's, for the command and for its workers."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
from fsspec.registry import _registry

from jukejax.common import storage
from jukejax.data import corpus
from tests.support import bucket
from tests.support.preparation import RATE, contents, music, prepare, prepare_in_new_process


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    """A folder whose subfolder NAME is gs://NAME in this process, with music."""
    root = tmp_path / "buckets"
    (root / "music" / "sub").mkdir(parents=True)
    soundfile.write(root / "music" / "one.wav", music(seed=1), RATE)
    soundfile.write(root / "music" / "sub" / "two.flac", music(seed=2), RATE)
    (root / "music" / "cover.jpg").write_bytes(b"\xff\xd8")
    (root / "music" / ".trash").mkdir()
    soundfile.write(root / "music" / ".trash" / "no.wav", music(seed=3), RATE)
    monkeypatch.setenv(bucket.ROOT, str(root))
    monkeypatch.setitem(_registry, "gs", bucket.FolderBucket)
    return root


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_bucket_to_bucket_gives_the_bytes_of_folder_to_folder(buckets, tmp_path):
    prepare(f"--input={buckets / 'music'}", f"--output={tmp_path / 'data'}")
    flags = ["--input=gs://music", "--output=gs://data/house", "--workers=1"]
    prepare_in_new_process(  # its worker needs the bucket, too
        *flags, env=bucket.environment(buckets)
    )
    uploaded = buckets / "data" / "house"
    assert contents(uploaded) == contents(tmp_path / "data")
    rows = json.loads((uploaded / "corpus.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["one.wav", "sub/two.flac"]
    shutil.copytree(uploaded, tmp_path / "copied")
    assert corpus.open_dataset(tmp_path / "copied").tracks("heldout")


def test_a_second_run_on_a_bucket_prepares_only_new_files(buckets):
    flags = ["--input=gs://music", "--output=gs://data", "--cache=gs://cache/tracks"]
    prepare(*flags)
    before = stamps(buckets / "cache")
    assert len([name for name in before if name.endswith(".npy")]) == 2
    soundfile.write(buckets / "music" / "three.wav", music(seed=4), RATE)
    prepare(*flags)
    after = stamps(buckets / "cache")
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if name.endswith(".npy")]) == 3
    soundfile.write(buckets / "music" / "three.wav", music(seed=5), RATE)
    prepare(*flags)
    assert len([name for name in stamps(buckets / "cache") if name.endswith(".npy")]) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "it holds no JSON object"), ('{"name": "a", "samples": "all"}', "samples is 'all'")],
)
def test_a_damaged_record_in_a_bucket_is_made_again_with_a_line(buckets, text, message):
    flags = ["--input=gs://music", "--output=gs://data", "--cache=gs://cache/tracks"]
    prepare(*flags)
    before = contents(buckets / "data")
    record, whole = sorted((buckets / "cache" / "tracks" / "sources").glob("*.json"))
    record.write_text(text)
    stamp = whole.stat().st_mtime_ns
    _, err = prepare(*flags)
    assert f"gs://cache/tracks/sources/{record.name} is damaged (" in err
    assert message in err
    assert contents(buckets / "data") == before
    assert json.loads(record.read_text())["samples"] > 0
    assert whole.stat().st_mtime_ns == stamp


def test_a_bucket_is_downloaded_once_into_a_local_cache(buckets, tmp_path):
    flags = ["--input=gs://music", f"--output={tmp_path / 'data'}"]
    prepare(*flags)
    first, cached = contents(tmp_path / "data"), stamps(tmp_path / "data" / ".work")
    prepare(*flags)
    assert contents(tmp_path / "data") == first
    again = stamps(tmp_path / "data" / ".work")
    assert {k: v for k, v in again.items() if "lock" not in k} == {
        k: v for k, v in cached.items() if "lock" not in k
    }


def test_a_bucket_of_an_unknown_kind_or_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(_registry, "s3", raising=False)
    storage.make_filesystem.cache_clear()
    with pytest.raises(ValueError, match="--input=xx://music cannot be reached: Protocol not kno"):
        storage.check_reachable("xx://music", "input")
    with pytest.raises(ValueError, match=r"--cache=s3://music needs s3fs, .*\[buckets\]"):
        storage.check_reachable("s3://music", "cache")
    storage.check_reachable("/nowhere", "input")
