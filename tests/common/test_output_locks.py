"""Locks of output folders: who holds them, and what a full disk becomes."""

import errno
import os
import re
import socket
import subprocess
import sys

import pytest

from jukejax.common import files, output_locks
from tests.support.command import ROOT

HOLD = """
import sys
from pathlib import Path
from jukejax.common import output_locks
folder = Path(sys.argv[1])
with output_locks.lock_file(folder / ".lock", folder, "export"):
    print("held", flush=True)
    sys.stdin.read()
"""


def lock(folder, verb="train"):
    return output_locks.lock_file(folder / ".lock", folder, verb)


def test_the_second_process_says_who_holds_the_folder(tmp_path):
    folder = tmp_path / "runs" / "a"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        who = f"another export is writing to {folder}; wait for it (process {holder.pid} on "
        with pytest.raises(ValueError, match=re.escape(who + socket.gethostname())), lock(folder):
            pass
        assert (folder / ".lock").stat().st_size > 0
        holder.stdin.close()
    assert not (tmp_path / "runs").exists()


def test_a_killed_process_holds_nothing(tmp_path):
    (tmp_path / ".lock").write_text('{"verb": "train", "pid": 1')
    with lock(tmp_path):
        holder = files.read_json(tmp_path / ".lock")
        assert (holder["verb"], holder["pid"]) == ("train", os.getpid())
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", holder["since"])
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_folders_with_output_stay(tmp_path):
    with lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "result").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "result"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_told_by_any_library(tmp_path, error):
    message = f"the disk of {tmp_path} is full; make room and run again: finished work is kept"
    outer = RuntimeError("while saving")
    outer.__cause__ = error
    with pytest.raises(ValueError, match=message), lock(tmp_path):
        raise outer
    with pytest.raises(RuntimeError, match="something else"), lock(tmp_path):
        raise RuntimeError("something else")
