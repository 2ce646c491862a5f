"""What is stored of a run, in which order, and what remains after faults."""

import time

import pytest

from jukejax.common import mirrors, storage
from jukejax.training import run_store
from tests.support.object_server import BUCKET, Fault


def write_checkpoint(folder, step):
    for name in ("state/data", "about/metadata", mirrors.MARK):
        path = folder / "checkpoints" / str(step) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{step}")


def remove_checkpoint(folder, step):
    (folder / "checkpoints" / str(step)).rename(folder / f".{step}")


def list_steps(url):
    """Lists the objects of each checkpoint."""
    steps = {}
    for name in storage.list_files(f"{url}/checkpoints"):
        step, _, rest = name.partition("/")
        steps.setdefault(step, []).append(rest)
    return steps


WHOLE = sorted(["state/data", "about/metadata", mirrors.MARK])


@pytest.fixture(autouse=True)
def no_thread(monkeypatch):
    """Stores at `wait` and at the end alone, and soon fails."""
    monkeypatch.setattr(run_store, "_POLL", 1000.0)
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    monkeypatch.setattr(storage, "FIRST_DELAY", 0.01)


def test_a_checkpoint_is_stored_after_the_log_and_its_mark_last(object_server):
    url = f"s3://{BUCKET}/order"
    with run_store.open_workdir(url) as (folder, store):
        (folder / "metrics.jsonl").write_text("1\n")
        write_checkpoint(folder, 4)
        object_server.inject()
        store.wait()
        puts = [
            row.rpartition("order/")[2] for row in object_server.list_requests() if "PUT" in row
        ]
        assert (puts[0], puts[-1]) == ("metrics.jsonl", f"checkpoints/4/{mirrors.MARK}")
        assert sorted(puts[1:]) == [f"checkpoints/4/{name}" for name in WHOLE]
        write_checkpoint(folder, 8)
        remove_checkpoint(folder, 4)
        store.wait()
        assert list_steps(url) == {"8": WHOLE}


def test_an_upload_that_dies_leaves_the_older_checkpoint_and_is_made_up_for(object_server, capsys):
    url = f"s3://{BUCKET}/dies"
    with run_store.open_workdir(url) as (folder, store):
        write_checkpoint(folder, 4)
        store.wait()
        write_checkpoint(folder, 8)
        remove_checkpoint(folder, 4)
        object_server.inject(Fault("dead", "PUT", "8/state", count=1000))
        store.wait()
        store.wait()
        assert capsys.readouterr().err.count("checkpoints/8/state/data cannot be written") == 1
        assert list_steps(url)["4"] == WHOLE
        assert mirrors.MARK not in list_steps(url)["8"]
        assert store.latest_step() == 4
        object_server.inject()
    assert list_steps(url) == {"8": WHOLE}


def test_a_bucket_out_of_reach_at_the_end_is_an_error(object_server, monkeypatch):
    monkeypatch.setattr(run_store, "LONGEST_END", 0.1)

    def write_log():
        with run_store.open_workdir(f"s3://{BUCKET}/gone") as (folder, _):
            (folder / "metrics.jsonl").write_text("1\n")
            object_server.inject(Fault("503", "PUT", "", count=1000))

    with pytest.raises(storage.StorageError, match=r"metrics\.jsonl cannot be written"):
        write_log()


def test_what_a_killed_process_left_unfinished_is_removed(object_server):
    url = f"s3://{BUCKET}/left"
    for name in ("4/state/data", "8/state/data", f"8/{mirrors.MARK}", "damaged_2/state/data"):
        storage.store_bytes(b"1", f"{url}/checkpoints/{name}")
    with run_store.open_workdir(url) as (folder, store):
        assert sorted(list_steps(url)) == ["8", "damaged_2"]
        assert not (folder / "checkpoints" / "8" / "state").exists()
        store.fetch(8)
        assert (folder / "checkpoints" / "8" / "state" / "data").exists()
        store.set_aside(8, "damaged_8")
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["damaged_8"]
        assert store.latest_step() is None
    assert sorted(list_steps(url)) == ["damaged_2", "damaged_8"]


def test_logs_are_stored_in_the_background(object_server, monkeypatch):
    monkeypatch.setattr(run_store, "_POLL", 0.02)
    monkeypatch.setattr(run_store, "INTERVAL", 0.1)
    url = f"s3://{BUCKET}/logs"
    with (
        run_store.open_workdir(url) as (folder, _),
        open(folder / "metrics.jsonl", "w") as file,
    ):
        for step in range(5):
            file.write(f"{step}\n")
            file.flush()
            wait_for(lambda step=step: read_log(url).endswith(f"{step}\n"))


def read_log(url):
    for entry in storage.list_objects(f"{url}/metrics.jsonl").values():
        return storage.read_range(entry.url, 0, entry.size).decode()
    return ""


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
