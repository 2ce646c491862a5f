"""Processes that share the tracks of a file: every item once, and the same as by one process."""

import json
import time
from pathlib import Path

import pytest

from jukejax.common import mirrors
from jukejax.inference.loaded_model import Model
from jukejax.sample import check_shared_output
from jukejax.sampling.request_file import BadLines, Entry
from jukejax.sampling.run import sample_batches
from jukejax.sampling.shares import ALONE, Rank, select_batches, split_batch
from tests.support import small_bundle
from tests.support.small_sample import make_request, read_files

SHORT = 0.2  # seconds: a window of the top level, and a bit


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(small_bundle.write(tmp_path_factory.mktemp("m"), lyrics="none", levels=(2,)))


@pytest.mark.parametrize(
    ("size", "count", "parts"),
    [(5, 2, [[0, 1], [2, 3, 4]]), (2, 4, [[0], [1]]), (4, 1, [[0, 1, 2, 3]])],
)
def test_batches_are_split_evenly_without_empty_ones(size, count, parts):
    assert split_batch(range(size), count) == parts


def test_each_batch_has_one_process_and_long_ones_are_divided_first(monkeypatch):
    lengths = dict(enumerate([5, 1, 1, 9, 4, 3]))
    monkeypatch.setattr("jukejax.sampling.shares._count_codes", lambda plan: plan)
    batches = [[0, 1], [2], [3], [4, 5]]  # 6, 1, 9, 7
    shares = [select_batches(batches, lengths, Rank(index, 3)) for index in range(3)]
    assert shares == [[2], [3], [0, 1]]
    assert select_batches(batches, lengths, ALONE) == [0, 1, 2, 3]
    assert select_batches(batches[:1], lengths, Rank(1, 3)) == []


def make_entries(number):
    requests = [
        make_request(seconds=SHORT * (1 + index % 2), seed=index, levels=(2,), items=range(2))
        for index in range(number)
    ]
    return [Entry(index, request, {"seed": request.seed}) for index, request in enumerate(requests)]


def sample(model, output, rank, number=3):
    settings = {"model": model.hash}
    now = time.monotonic()
    bad_lines = BadLines("", is_skipping=False)
    sample_batches(model, make_entries(number), bad_lines, output, settings, now, rank=rank)


def list_items(output):
    return {path.parent.name for path in output.glob("item_*/level_2.wav")}


def test_two_processes_write_the_folder_of_one(model, tmp_path):
    """In turn, the first one last, as it writes the page of all tracks."""
    sample(model, tmp_path / "one", ALONE)
    shared = tmp_path / "two"
    shared.mkdir()
    sample(model, shared, Rank(1, 2))
    second = list_items(shared)
    assert 0 < len(second) < 6
    assert not (shared / "index.html").exists()
    assert not (shared / "settings.json").exists()
    sample(model, shared, Rank(0, 2))
    files, expected = read_files(shared), read_files(tmp_path / "one")
    assert json.loads(files.pop("settings.json"))["batches"] == [[0, 1], [4, 5], [2], [3]]
    assert json.loads(expected.pop("settings.json"))["batches"] == [[0, 1, 4, 5], [2, 3]]
    pages = files.pop("index.html"), expected.pop("index.html")
    assert all(page.count(b"<article") == 6 for page in pages)
    assert files.keys() == expected.keys()
    assert [name for name in files if files[name] != expected[name]] == []


def test_finished_batches_are_kept_by_another_number_of_processes(model, tmp_path, monkeypatch):
    monkeypatch.setattr("jukejax.pages.report.write_sample_page", lambda folder: None)
    output = tmp_path / "out"
    output.mkdir()
    for rank in (Rank(1, 2), Rank(0, 2)):
        sample(model, output, rank)
    written = {path: path.stat().st_mtime_ns for path in output.glob("item_*/*.wav")}
    sample(model, output, ALONE, number=4)
    batches = json.loads((output / "settings.json").read_text())["batches"]
    assert batches == [[0, 1], [4, 5], [2], [3], [6, 7]]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list_items(output)) == 8


def test_processes_that_share_a_bucket_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(mirrors, "find_url", lambda path: "s3://mine/takes")
    check_shared_output(Path("copy"), 1)
    with pytest.raises(ValueError, match="--output=s3://mine/takes: several processes need a fold"):
        check_shared_output(Path("copy"), 2)
