"""Buckets: a folder stands in for Google's, for the command and for its workers."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from jukejax.data import corpus
from jukejax.preparation import places
from tests.integration.test_prepare import RATE, contents, music, run
from tests.support import bucket


@pytest.fixture
def buckets(tmp_path):
    """A folder in which gs://NAME is the folder NAME, and the environment in which it is so."""
    root = tmp_path / "buckets"
    (root / "music" / "sub").mkdir(parents=True)
    soundfile.write(root / "music" / "one.wav", music(seed=1), RATE)
    soundfile.write(root / "music" / "sub" / "two.flac", music(seed=2), RATE)
    (root / "music" / "cover.jpg").write_bytes(b"\xff\xd8")
    (root / "music" / ".trash").mkdir()
    soundfile.write(root / "music" / ".trash" / "no.wav", music(seed=3), RATE)
    return root, bucket.environment(root)


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_bucket_to_bucket_gives_the_bytes_of_folder_to_folder(buckets, tmp_path):
    root, env = buckets
    run(f"--input={root / 'music'}", f"--output={tmp_path / 'data'}")
    flags = ["--input=gs://music", "--output=gs://data/house"]
    run(*flags, env=env)
    there = root / "data" / "house"
    assert contents(there) == contents(tmp_path / "data")
    rows = json.loads((there / "corpus.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["one.wav", "sub/two.flac"]
    shutil.copytree(there, tmp_path / "copied")
    assert corpus.open_dataset(tmp_path / "copied").tracks("heldout")


def test_a_second_run_on_a_bucket_touches_only_what_is_new(buckets):
    root, env = buckets
    flags = ["--input=gs://music", "--output=gs://data", "--cache=gs://cache/tracks"]
    run(*flags, env=env)
    before = stamps(root / "cache")
    assert len([name for name in before if name.endswith(".npy")]) == 2
    soundfile.write(root / "music" / "three.wav", music(seed=4), RATE)
    run(*flags, env=env)
    after = stamps(root / "cache")
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if name.endswith(".npy")]) == 3
    soundfile.write(root / "music" / "three.wav", music(seed=5), RATE)
    run(*flags, env=env)
    assert len([name for name in stamps(root / "cache") if name.endswith(".npy")]) == 4


def test_a_bucket_read_into_a_cache_of_this_machine_is_fetched_once(buckets, tmp_path):
    _, env = buckets
    flags = ["--input=gs://music", f"--output={tmp_path / 'data'}"]
    run(*flags, env=env)
    first, cached = contents(tmp_path / "data"), stamps(tmp_path / "data" / ".work")
    run(*flags, env=env)
    assert contents(tmp_path / "data") == first
    again = stamps(tmp_path / "data" / ".work")
    assert {k: v for k, v in again.items() if "lock" not in k} == {
        k: v for k, v in cached.items() if "lock" not in k
    }


def test_a_bucket_of_an_unknown_kind_or_without_its_package_is_named():
    with pytest.raises(ValueError, match="--input=xx://music cannot be reached: Protocol not kno"):
        places.check("xx://music", "input")
    with pytest.raises(ValueError, match="--cache=s3://music: Install s3fs"):
        places.check("s3://music", "cache")
    places.check("/nowhere", "input")
