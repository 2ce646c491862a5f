"""The queue: one job at a time; stop, resume, and what a killed server leaves."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from jukejax.common import files
from jukejax.studio import child, prepared
from jukejax.studio.job import DONE, FAILED, RUNNING, STOPPED, WAITING, Job, read_progress
from jukejax.studio.queue import JobQueue
from tests.support.studio import use_script


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def queue(tmp_path, monkeypatch):
    use_script(monkeypatch, tmp_path)
    queue = JobQueue(tmp_path)
    yield queue
    queue.close()


def add(queue, folder, *arguments, chain=1):
    steps = [("sample", [f"--output={folder}", *arguments], "take")] * chain
    return queue.add_chain(steps, project="p", subject="t0001")[0].identifier


def state_of(queue, job):
    return queue.find_job(job).state


def test_jobs_run_one_after_the_other(queue, tmp_path):
    first, second = add(queue, tmp_path / "a", "--waits=1"), add(queue, tmp_path / "b")
    queue.start()
    wait_until(lambda: (tmp_path / "a" / "starts").exists())
    assert state_of(queue, first) == RUNNING
    time.sleep(0.1)
    assert state_of(queue, second) == WAITING
    (tmp_path / "a" / "go").touch()
    wait_until(lambda: state_of(queue, second) == DONE)
    assert state_of(queue, first) == DONE


def test_a_stopped_job_resumes_by_the_same_command(queue, tmp_path):
    job = add(queue, tmp_path / "a", "--waits=1")
    queue.start()
    wait_until(lambda: (tmp_path / "a" / "starts").exists())
    queue.stop(job)
    wait_until(lambda: state_of(queue, job) == STOPPED)
    assert not (tmp_path / "a" / "done").exists()
    (tmp_path / "a" / "go").touch()
    queue.resume(job)
    wait_until(lambda: state_of(queue, job) == DONE)
    assert (tmp_path / "a" / "starts").read_text() == "xx"


def test_a_failed_step_stops_those_that_follow(queue, tmp_path):
    failing = [("sample", [f"--output={tmp_path / 'a'}", "--fail=too loud"], "first")]
    following = [("sample", [f"--output={tmp_path / 'b'}"], "second")]
    first, second = queue.add_chain(failing + following, project="p", subject="c0001")
    queue.start()
    wait_until(lambda: state_of(queue, second.identifier) == STOPPED)
    assert queue.find_job(first.identifier).message == "too loud"
    assert state_of(queue, first.identifier) == FAILED
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("verb", "code", "state"), [("audit", 3, DONE), ("sample", 3, FAILED), ("sample", 1, FAILED)]
)
def test_copied_music_is_a_result_of_audit_only(queue, tmp_path, verb, code, state):
    step = (verb, [f"--output={tmp_path / 'a'}", f"--code={code}"], "x")
    [job] = queue.add_chain([step], project="p", subject="t0001")
    queue.start()
    wait_until(lambda: state_of(queue, job.identifier) == state)


def test_waiting_jobs_can_be_stopped_and_moved(queue, tmp_path):
    jobs = [add(queue, tmp_path / name) for name in "abc"]
    queue.move_up(jobs[2])
    assert [job.identifier for job in queue.list_jobs()] == [jobs[2], jobs[0], jobs[1]]
    queue.stop(jobs[0])
    assert state_of(queue, jobs[0]) == STOPPED
    with pytest.raises(ValueError, match="does not run"):
        queue.stop(jobs[0])


def test_a_killed_server_continues_where_it_was(tmp_path, monkeypatch):
    """Its command still runs: it is ended, and started again by the next server."""
    use_script(monkeypatch, tmp_path)
    arguments = (f"--output={tmp_path / 'a'}", "--waits=1")
    orphan = child.start_child(
        "sample", arguments, log=tmp_path / "log", progress=tmp_path / "progress"
    )
    wait_until(lambda: (tmp_path / "a" / "starts").exists())
    job = Job(
        identifier="j0001",
        verb="sample",
        arguments=arguments,
        title="x",
        project="p",
        subject="t0001",
        group="j0001",
        state=RUNNING,
        pid=orphan.pid,
    )
    waiting = dataclasses.replace(job, identifier="j0002", group="j0002", state=WAITING, pid=0)
    files.write_json(tmp_path / "jobs.json", {"jobs": [job.to_json(), waiting.to_json()]})
    queue = JobQueue(tmp_path)
    queue.start()
    try:
        assert orphan.wait(60) == 143
        wait_until(lambda: (tmp_path / "a" / "starts").read_text() == "xx")
        assert (state_of(queue, "j0001"), state_of(queue, "j0002")) == (RUNNING, WAITING)
        (tmp_path / "a" / "go").touch()
        wait_until(lambda: state_of(queue, "j0002") == DONE)
    finally:
        queue.close()


def test_another_process_of_that_number_is_not_ended(tmp_path, monkeypatch):
    use_script(monkeypatch, tmp_path)
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert not child.end_orphan(other.pid, [child.format_command("sample", ["--output=a"])])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_server_that_ends_leaves_its_job_to_the_next(queue, tmp_path):
    job = add(queue, tmp_path / "a", "--waits=1")
    queue.start()
    wait_until(lambda: (tmp_path / "a" / "starts").exists())
    queue.close()
    following = JobQueue(tmp_path)
    (tmp_path / "a" / "go").touch()
    following.start()
    wait_until(lambda: state_of(following, job) == DONE)
    following.close()


def test_on_a_full_disk_nothing_is_added_and_nothing_lost(queue, tmp_path, monkeypatch):
    first = add(queue, tmp_path / "a")
    before = (tmp_path / "jobs.json").read_bytes()

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            add(queue, tmp_path / "b")
        with pytest.raises(OSError, match="No space"):
            queue.stop(first)
        queue.start()
        wait_until(lambda: queue.fault)
        assert [job.identifier for job in queue.list_jobs()] == [first]
        assert state_of(queue, first) == WAITING
        assert (tmp_path / "jobs.json").read_bytes() == before
    wait_until(lambda: state_of(queue, first) == DONE)
    assert queue.fault == ""


def test_a_child_killed_from_outside_can_resume(queue, tmp_path):
    job = add(queue, tmp_path / "a", "--waits=1")
    queue.start()
    wait_until(lambda: queue.find_job(job).pid and (tmp_path / "a" / "starts").exists())
    os.kill(queue.find_job(job).pid, signal.SIGKILL)
    wait_until(lambda: state_of(queue, job) == FAILED)
    assert "signal 9" in queue.find_job(job).message
    (tmp_path / "a" / "go").touch()
    queue.resume(job)
    wait_until(lambda: state_of(queue, job) == DONE)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"jobs": [{"verb": "sample"}]}'])
def test_a_damaged_list_of_jobs_is_not_overwritten(tmp_path, text):
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(ValueError, match="damaged"):
        JobQueue(tmp_path)
    assert (tmp_path / "jobs.json").read_text() == text


def test_progress_is_read_from_what_the_command_writes(tmp_path):
    path = tmp_path / "progress.json"
    assert read_progress(path).share is None
    report = {"label": "level 2, codes", "done": 30, "total": 120, "eta_seconds": 65}
    files.write_json(path, report)
    progress = read_progress(path)
    assert progress.share == 0.25
    assert progress.text == "level 2, codes 30 of 120, 1:05 left"


# Stands for the process that is prepared: it waits for a job, and notes the output of it.
PREPARED = """
import json, os, sys
line = sys.stdin.readline()
if not line:
    sys.exit()
values = dict(word[2:].partition("=")[::2] for word in json.loads(line)["arguments"])
os.makedirs(values["output"], exist_ok=True)
open(values["output"] + "/prepared", "w").close()
"""


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Returns the list of the prepared processes, which run PREPARED."""
    script, started = tmp_path / "prepared.py", []
    script.write_text(PREPARED)

    def format_command(root):
        started.append(root)
        return [sys.executable, str(script), str(root)]

    monkeypatch.setattr(prepared, "format_command", format_command)
    return started


def test_takes_run_in_the_prepared_process_and_other_jobs_do_not(queue, tmp_path, commands):
    queue.start(prepares=True)
    wait_until(lambda: queue._prepared is not None)
    take = add(queue, tmp_path / "a")
    wait_until(lambda: state_of(queue, take) == DONE)
    assert (tmp_path / "a" / "prepared").exists()
    wait_until(lambda: queue._prepared is not None)
    steps = [("train", [f"--output={tmp_path / 'b'}"], "tune")]
    other = queue.add_chain(steps, project="p", subject="m0001")[0].identifier
    wait_until(lambda: state_of(queue, other) == DONE)
    assert (tmp_path / "b" / "done").exists()
    assert not (tmp_path / "b" / "prepared").exists()


def test_a_take_runs_without_a_prepared_process_that_has_died(queue, tmp_path, commands):
    queue.start(prepares=True)
    wait_until(lambda: queue._prepared is not None)
    queue._prepared._process.kill()
    queue._prepared._process.wait()
    take = add(queue, tmp_path / "a")
    wait_until(lambda: state_of(queue, take) == DONE)
    assert (tmp_path / "a" / "done").exists()


def test_a_prepared_process_runs_sample_as_its_command_does(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")  # so that it imports, and compiles nothing
    log = tmp_path / "log"
    process = prepared.PreparedProcess(tmp_path)
    process = process.start_job(["--bars=many"], log=log, progress=tmp_path / "progress")
    assert process.wait(60) == 2
    assert "flag --bars=many" in log.read_text()


def test_a_prepared_process_ends_with_its_server(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    process = prepared.PreparedProcess(tmp_path)._process
    process.stdin.close()  # as the kernel does when the server ends
    assert process.wait(60) == 0
