"""Training with its workdir in a bucket: the same bits as in a local folder, after a kill too."""

import json
import signal

import pytest

from jukejax.common import mirrors, storage
from jukejax.weights import checkpoints
from tests.support.command import run_in_process, stop_when
from tests.support.object_server import BUCKET, Fault
from tests.support.small_codes import write_codes
from tests.support.trees import assert_same_state

STEPS = 12
TIMES = {"seconds", "tokens_per_s", "examples_per_s", "data_wait", "mfu", "memory_bytes"}


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    return write_codes(tmp_path_factory.mktemp("codes"))


def flags(codes, workdir):
    return (
        "--config=tests/support/smallest_config.py:prior",
        f"--config.data.folder={codes}",
        f"--config.steps={STEPS}",
        "--config.eval_every=4",
        f"--workdir={workdir}",
    )


@pytest.fixture(scope="module")
def local(codes, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("local")
    run_in_process("train", *flags(codes, workdir))
    return workdir


def read_rows(workdir):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: row[name] for name in row.keys() - TIMES} for row in rows]


def assert_same_run(url, local):
    folder = mirrors.open_input(url)
    steps = [saved.step for saved in checkpoints.list_steps(folder)]
    assert steps == [saved.step for saved in checkpoints.list_steps(local)]
    for step in steps:
        ours = checkpoints.read_step(checkpoints.find_step(folder, step))
        assert_same_state(ours, checkpoints.read_step(checkpoints.find_step(local, step)))
    assert read_rows(folder) == read_rows(local)
    for name in ("description.json", "summary.json"):
        ours, theirs = (json.loads((path / name).read_text()) for path in (folder, local))
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_run_in_a_bucket_is_that_of_a_folder(object_server, codes, local):
    url = f"s3://{BUCKET}/whole"
    done = run_in_process("train", *flags(codes, url))
    assert "process-" not in done.stderr + done.stdout
    assert_same_run(url, local)
    assert any("tensorboard" in name for name in storage.list_files(url))
    again = run_in_process("train", *flags(codes, url))
    assert f"{url} is finished: 12 steps" in again.stderr


FAULTS = (
    *(Fault(kind, "GET", "", 2) for kind in ("503", "cut", "latency", "503", "cut")),
    *(Fault(kind, "PUT", "checkpoints", 2) for kind in ("dead", "503", "cut", "latency")),
    Fault("dead", "PUT", "metrics.jsonl", 2),
)


def test_a_run_that_was_killed_resumes_on_a_machine_without_its_files_through_20_faults(
    object_server, codes, local, tmp_path, monkeypatch
):
    url, data = f"s3://{BUCKET}/killed", f"s3://{BUCKET}/data"
    for path in codes.iterdir():
        storage.upload(path, f"{data}/{path.name}")

    def has_saved():
        return f"{url}/checkpoints/4/{mirrors.MARK}" in list_urls(url)

    object_server.inject(*FAULTS)
    assert stop_when("train", *flags(data, url), ready=has_saved) == -signal.SIGKILL
    assert f"{url}/summary.json" not in list_urls(url)
    monkeypatch.setenv("JUKEJAX_BUCKET_CACHE", str(tmp_path / "another machine"))
    done = run_in_process("train", *flags(data, url))
    assert "continuing from step " in done.stderr
    assert len(object_server.list_injected()) == sum(fault.count for fault in FAULTS) == 20
    assert_same_run(url, local)


def list_urls(url):
    return {entry.url for entry in storage.list_objects(url).values()}
