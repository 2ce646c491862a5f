"""The files of an output folder: what is read is what was written, as a whole."""

import errno

import numpy as np
import pytest

from jukejax.data.codes_file import read_codes_file
from jukejax.sampling.folder import (
    LevelState,
    SampleFolder,
    claim_folder,
    lock_folder,
    remove_unfinished_files,
)


def make_codes(length, rows=2, seed=0):
    return np.random.default_rng(seed).integers(0, 2048, (rows, length)).astype(np.int32)


@pytest.fixture
def folder(tmp_path):
    return SampleFolder(tmp_path, range(5, 7))


def test_items_are_named_by_their_numbers(folder, tmp_path):
    assert folder.items == [tmp_path / "item_005", tmp_path / "item_006"]
    assert list(folder.rows) == [0, 1]


def test_loaded_codes_are_those_that_every_item_has(folder):
    assert folder.load_codes() == {}
    folder.save_codes({2: make_codes(10), 1: make_codes(40)})
    ahead = SampleFolder(folder.output, [6])
    ahead.save_codes(
        {
            2: make_codes(10)[1:],
            1: np.pad(make_codes(40), ((0, 0), (0, 3)))[1:],
            0: make_codes(4, 1),
        }
    )
    loaded = folder.load_codes()
    assert sorted(loaded) == [1, 2]
    np.testing.assert_array_equal(loaded[1], make_codes(40))
    assert read_codes_file(folder.items[0] / "codes.npz")[2].dtype == np.int32


def test_same_codes_give_the_same_file(folder):
    folder.save_codes({2: make_codes(10)})
    first = (folder.items[0] / "codes.npz").read_bytes()
    folder.save_codes({2: make_codes(10, seed=1)})
    folder.save_codes({2: make_codes(10)})
    assert (folder.items[0] / "codes.npz").read_bytes() == first


def test_state_of_a_level_is_loaded_as_saved(folder):
    """Two rows an item, windows of different lengths."""
    pending = {(0, 3): make_codes(7)[0], (1, 12): make_codes(9)[1], (3, 4): make_codes(7)[1]}
    folder.save_state("level_1", LevelState(make_codes(20, rows=4), 33, pending))
    loaded = folder.load_state("level_1")
    np.testing.assert_array_equal(loaded.codes, make_codes(20, rows=4))
    assert loaded.target == 33
    assert loaded.pending.keys() == pending.keys()
    for place, value in pending.items():
        np.testing.assert_array_equal(loaded.pending[place], value)
    assert folder.load_state("level_0") is None


@pytest.mark.parametrize(
    "ahead", [LevelState(make_codes(30), 33, {}), LevelState(make_codes(20), 66, {})]
)
def test_codes_that_only_some_items_have_are_sampled_again(folder, ahead):
    pending = {(0, 1): make_codes(7)[0], (1, 1): make_codes(7)[1]}
    folder.save_state("level_1", LevelState(make_codes(20), 33, pending))
    behind = SampleFolder(folder.output, [6])
    pending_behind = {(0, 2): make_codes(7)[1]}
    behind.save_state("level_1", LevelState(ahead.codes[1:], ahead.target, pending_behind))
    loaded = folder.load_state("level_1")
    np.testing.assert_array_equal(loaded.codes[0], make_codes(20)[0])
    np.testing.assert_array_equal(loaded.codes[1], ahead.codes[1, :20])
    assert loaded.target == 33
    assert list(loaded.pending) == [(0, 1)]


def test_damaged_state_is_ignored_with_a_line(folder, capsys):
    folder.save_state("level_1", LevelState(make_codes(20), 33, {}))
    (folder.items[1] / "level_1.parts.npz").write_bytes(b"PK\x03\x04")
    assert folder.load_state("level_1") is None
    assert "the state of level 1" in capsys.readouterr().err


def test_state_and_unfinished_files_are_removed(folder):
    folder.save_state("level_1", LevelState(make_codes(20), 33, {}))
    (folder.items[0] / ".codes.npz.tmp").write_bytes(b"half")
    (folder.output / ".index.html.tmp").write_bytes(b"half")
    folder.remove_state("level_1")
    folder.remove_unfinished_files()
    assert [path.name for path in folder.output.rglob("*") if path.is_file()] == [".index.html.tmp"]
    remove_unfinished_files(folder.output)
    assert [path for path in folder.output.rglob("*") if path.is_file()] == []


def test_meta_of_an_item_is_updated(folder):
    folder.update_meta(0, seed=1, seconds=2.0)
    folder.write_seconds(2, 1.25)
    folder.write_seconds(2, 2.5)
    assert folder.read_seconds(2) == 2.5
    assert folder.read_seconds(1) == 0.0
    assert not folder.has_audio(2)
    for row in folder.rows:
        folder.write_audio(row, 2, 2 * np.ones(44100, np.float32), 44100)
    assert folder.has_audio(2)
    assert folder.read_meta(0) == {
        "seed": 1,
        "seconds": 2.0,
        "timings": {"level_2": 2.5},
        "gain": {"level_2": 0.5},
        "seconds_per_second_of_audio": 1.25,
    }


def test_level_has_audio_only_when_its_gain_is_written_too(folder):
    for row in folder.rows:
        folder.write_audio(row, 2, np.zeros(100, np.float32), 44100)
    folder.update_meta(1, gain={})
    assert not folder.has_audio(2)


def test_folder_belongs_to_one_set_of_settings(tmp_path):
    claim_folder(tmp_path, {"seed": 1, "model": "a"})
    claim_folder(tmp_path, {"seed": 1, "model": "a"})
    with pytest.raises(ValueError, match=r"begun with seed=1, not 2; take another --output"):
        claim_folder(tmp_path, {"seed": 2, "model": "a"})


def test_folder_is_locked_against_a_second_run(tmp_path):
    """Locks belong to an open file, so that a second one in this process stands for a process."""
    message = f"another sample is writing to {tmp_path}; wait for it"
    with lock_folder(tmp_path), pytest.raises(ValueError, match=message), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        pass


def test_full_disk_is_one_error(tmp_path):
    message = "is full; make room and run again: finished work is kept"
    with pytest.raises(ValueError, match=message), lock_folder(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), lock_folder(tmp_path):
        raise PermissionError(errno.EACCES, "not yours")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"level_2": np.zeros((2, 3), np.int32)}, "level_2 is int32"),
        ({"level_0": np.zeros(3, np.float32)}, "level_0 is float32"),
        ({"audio": np.zeros(3, np.int32)}, "cannot be read as the codes.npz .* it holds audio"),
        ({"level_03": np.zeros(3, np.int32)}, "it holds level_03, and the levels are level_0"),
        ({"level_-1": np.zeros(3, np.int32)}, "it holds level_-1"),
        ({"2": np.zeros(3, np.int32)}, "it holds 2, and"),
        ({"level_2": np.array([0, -1], np.int8)}, "level_2 holds -1, and codes are 0 to 65535"),
        ({"level_2": np.array([2**32 + 5], np.uint64)}, "level_2 holds 4294967301, and codes"),
        ({"level_2": np.array([65536, 0])}, "level_2 holds 65536, and codes"),
        ({"level_2": np.array([{}])}, "level_2.npy declares object"),
    ],
)
def test_other_npz_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "codes.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_codes_file(tmp_path / "codes.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_damaged_codes_file_is_refused(tmp_path, content):
    (tmp_path / "codes.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read as the codes\.npz of a sample"):
        read_codes_file(tmp_path / "codes.npz")
