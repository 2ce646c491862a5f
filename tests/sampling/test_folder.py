"""The files of a sample folder: what is read is what was written, whole or not at all."""

import errno
import subprocess
import sys

import numpy as np
import pytest

from jukejax.sampling.folder import SampleFolder, State, claim, held, read_codes
from tests.support.command import environment


def codes(length, rows=2, seed=0):
    return np.random.default_rng(seed).integers(0, 2048, (rows, length)).astype(np.int32)


@pytest.fixture
def folder(tmp_path):
    return SampleFolder(tmp_path, range(5, 7))


def test_items_are_called_by_their_numbers(folder, tmp_path):
    assert folder.items == [tmp_path / "item_005", tmp_path / "item_006"]
    assert list(folder.rows) == [0, 1]


def test_codes_come_back_as_far_as_every_item_has_them(folder):
    assert folder.load() == {}
    folder.save({2: codes(10), 1: codes(40)})
    ahead = SampleFolder(folder.output, [6])
    ahead.save({2: codes(10)[1:], 1: np.pad(codes(40), ((0, 0), (0, 3)))[1:], 0: codes(4, 1)})
    found = folder.load()
    assert sorted(found) == [1, 2]
    np.testing.assert_array_equal(found[1], codes(40))
    assert read_codes(folder.items[0] / "codes.npz")[2].dtype == np.int32


def test_the_same_codes_are_the_same_file(folder):
    folder.save({2: codes(10)})
    first = (folder.items[0] / "codes.npz").read_bytes()
    folder.save({2: codes(10, seed=1)})
    folder.save({2: codes(10)})
    assert (folder.items[0] / "codes.npz").read_bytes() == first


def test_the_state_of_a_level_comes_back(folder):
    """Two rows an item, windows of other lengths."""
    parts = {(0, 3): codes(7)[0], (1, 12): codes(9)[1], (3, 4): codes(7)[1]}
    folder.save_state(1, State(codes(20, rows=4), 33, parts))
    found = folder.load_state(1)
    np.testing.assert_array_equal(found.codes, codes(20, rows=4))
    assert found.target == 33
    assert found.parts.keys() == parts.keys()
    for place, value in parts.items():
        np.testing.assert_array_equal(found.parts[place], value)
    assert folder.load_state(0) is None


@pytest.mark.parametrize("ahead", [State(codes(30), 33, {}), State(codes(20), 66, {})])
def test_of_an_item_that_is_ahead_of_others_the_rest_is_drawn_again(folder, ahead):
    parts = {(0, 1): codes(7)[0], (1, 1): codes(7)[1]}
    folder.save_state(1, State(codes(20), 33, parts))
    behind = SampleFolder(folder.output, [6])
    behind.save_state(1, State(ahead.codes[1:], ahead.target, {(0, 2): codes(7)[1]}))
    found = folder.load_state(1)
    np.testing.assert_array_equal(found.codes[0], codes(20)[0])
    np.testing.assert_array_equal(found.codes[1], ahead.codes[1, :20])
    assert found.target == 33
    assert list(found.parts) == [(0, 1)]


def test_a_damaged_state_means_that_the_level_begins_anew(folder):
    folder.save_state(1, State(codes(20), 33, {}))
    (folder.items[1] / "level_1.parts.npz").write_bytes(b"PK\x03\x04")
    assert folder.load_state(1) is None


def test_a_finished_folder_keeps_nothing_to_go_on_with(folder):
    folder.save_state(1, State(codes(20), 33, {}))
    (folder.items[0] / ".codes.npz.tmp").write_bytes(b"half")
    (folder.output / "index.html.part").write_bytes(b"half")
    folder.finish_level(1)
    folder.tidy()
    assert [path for path in folder.output.rglob("*") if path.is_file()] == []


def test_what_is_known_of_an_item_grows(folder):
    folder.write_meta(0, seed=1, seconds=2.0)
    folder.note_time(2, 1.25)
    folder.note_time(2, 2.5)
    assert folder.seconds_spent(2) == 2.5
    assert folder.seconds_spent(1) == 0.0
    assert not folder.has_audio(2)
    for row in folder.rows:
        folder.write_audio(row, 2, 2 * np.ones(44100, np.float32), 44100)
    assert folder.has_audio(2)
    assert folder.meta(0) == {
        "seed": 1,
        "seconds": 2.0,
        "timings": {"level_2": 2.5},
        "gain": {"level_2": 0.5},
        "seconds_per_second_of_audio": 1.25,
    }


def test_a_level_counts_as_heard_when_its_gain_is_written_too(folder):
    for row in folder.rows:
        folder.write_audio(row, 2, np.zeros(100, np.float32), 44100)
    folder.write_meta(1, gain={})
    assert not folder.has_audio(2)


def test_a_folder_belongs_to_one_order(tmp_path):
    claim(tmp_path, {"seed": 1, "model": "a"})
    claim(tmp_path, {"seed": 1, "model": "a"})
    with pytest.raises(ValueError, match=r"begun with seed=1, not 2; take another --output"):
        claim(tmp_path, {"seed": 2, "model": "a"})


def test_two_processes_do_not_share_a_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from jukejax.sampling.folder import held\n"
        "try:\n  with held(Path(sys.argv[1])): pass\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with held(tmp_path):
        said = subprocess.run(command, env=environment(), capture_output=True, text=True).stdout
    assert said == f"another sample is writing to {tmp_path}; wait for it\n"
    assert subprocess.run(command, env=environment(), capture_output=True, text=True).stdout == ""


def test_a_full_disk_is_said_in_one_line(tmp_path):
    said = "is full; make room and run again: what is done is kept"
    with pytest.raises(ValueError, match=said), held(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), held(tmp_path):
        raise PermissionError(errno.EACCES, "not yours")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"level_2": np.zeros((2, 3), np.int32)}, "its level 2 is int32"),
        ({"level_0": np.zeros(3, np.float32)}, "its level 0 is float32"),
        ({"audio": np.zeros(3, np.int32)}, "cannot be read as the codes.npz of a sample"),
    ],
)
def test_what_is_no_codes_file_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "codes.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        read_codes(tmp_path / "codes.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_damaged_codes_file_is_refused(tmp_path, content):
    (tmp_path / "codes.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as the codes\.npz of a sample"):
        read_codes(tmp_path / "codes.npz")
