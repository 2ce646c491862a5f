"""Two processes without a common disk train in a gs:// bucket, to which Orbax itself writes."""

import contextlib
import json
import socket
import subprocess
import time

import pytest

from jukejax.common import mirrors, storage
from jukejax.training import run_store
from jukejax.weights import checkpoints
from tests.support.bucket_files import upload_folder
from tests.support.command import ROOT, command, environment
from tests.support.gcs_emulator import BUCKET, run_emulator
from tests.support.small_codes import write_codes
from tests.support.trees import assert_same_state

URL = f"gs://{BUCKET}"
STEPS = 12


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    pytest.importorskip("gcp_storage_emulator", reason="needs the extra buckets-test")
    with run_emulator() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        gcsfs = pytest.importorskip("gcsfs", reason="needs the extra buckets-test")
        gcsfs.GCSFileSystem.clear_instance_cache()
        storage.make_filesystem.cache_clear()
        monkeypatch.setenv("JUKEJAX_BUCKET_CACHE", str(tmp_path / "cache of this process"))
        monkeypatch.setattr(mirrors, "_mirrors", [])
        yield


@contextlib.contextmanager
def start_pair(data, workdir, caches):
    """Starts two processes of a run; each has a cache of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = (
        "--config=tests/support/smallest_config.py:prior",
        f"--config.data.folder={data}",
        f"--config.steps={STEPS}",
        "--config.eval_every=0",
        "--config.mesh.data=-1",
        f"--coordinator=localhost:{port}",
        "--num_processes=2",
        f"--workdir={workdir}",
    )
    pair = [
        subprocess.Popen(
            command("train", *flags, f"--process_id={number}"),
            cwd=ROOT,
            env=environment() | {"JUKEJAX_BUCKET_CACHE": f"{caches}/{number}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        yield pair
    finally:
        for process in pair:
            process.kill()
            process.communicate()  # closes the pipes


def finish(pair):
    printed = [process.communicate(timeout=900) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    return printed


@pytest.mark.slow
def test_two_processes_killed_and_resumed_in_a_bucket_end_as_on_a_shared_disk(bucket, tmp_path):
    codes = write_codes(tmp_path / "codes")
    upload_folder(codes, f"{URL}/codes")
    local, url = tmp_path / "local", f"{URL}/run"
    with start_pair(codes, local, tmp_path / "none") as pair:
        finish(pair)
    mark = f"{url}/checkpoints/4/{mirrors.MARK}"
    with start_pair(f"{URL}/codes", url, tmp_path / "first") as pair:
        deadline = time.monotonic() + 900
        while not storage.file_exists(mark):
            assert time.monotonic() < deadline, "no checkpoint came"
            assert all(process.poll() is None for process in pair), pair[0].communicate()[1]
            time.sleep(0.05)
    assert not storage.file_exists(f"{url}/summary.json")
    with start_pair(f"{URL}/codes", url, tmp_path / "second") as pair:
        printed = finish(pair)
    assert "continuing from step " in printed[0][1]
    folder = mirrors.open_input(url)
    steps = [saved.step for saved in checkpoints.list_steps(folder)]
    assert steps == [saved.step for saved in checkpoints.list_steps(local)]
    assert_same_state(checkpoints.read_state(folder), checkpoints.read_state(local))
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(row) for row in (local / "metrics.jsonl").read_text().splitlines()]
    losses, expected_losses = (
        [(row["step"], row["bits_per_code"]) for row in table] for table in (rows, expected)
    )
    assert losses == expected_losses


def test_several_processes_are_refused_in_s3(monkeypatch):
    monkeypatch.setattr("jukejax.runtime.distributed.is_shared", lambda: True)
    with (
        pytest.raises(ValueError, match="--workdir=s3://a/b: a run of several processes takes gs:"),
        run_store.open_workdir("s3://a/b"),
    ):
        pass
