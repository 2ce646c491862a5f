"""Two real processes train as one run: stopped together, resumed on one, with nothing lost."""

import json
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jukejax.runtime import distributed
from jukejax.weights import checkpoints
from tests.support.command import ROOT, command, environment, run_in_process
from tests.support.small_codes import write_codes

STEPS, STOP_AFTER = 60, 4


def flags(codes, workdir):
    return (
        "--config=tests/support/smallest_config.py:prior",
        f"--config.data.folder={codes}",
        f"--config.steps={STEPS}",
        "--config.checkpoint_every=1000",
        "--config.eval_every=0",
        "--config.mesh.data=-1",
        # Adam divides by the gradient: see test_equal_steps.
        "--config.optimizer.eps=1e-3",
        f"--workdir={workdir}",
    )


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    return write_codes(tmp_path_factory.mktemp("codes"))


def steps_logged(workdir):
    path = workdir / "metrics.jsonl"
    rows = path.read_text().splitlines() if path.exists() else []
    return [json.loads(row)["step"] for row in rows if row.endswith("}")]


def start(codes, workdir, port, number):
    place = (f"--coordinator=localhost:{port}", "--num_processes=2", f"--process_id={number}")
    return subprocess.Popen(
        command("train", *flags(codes, workdir), *place),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_sigterm_to_one_stops_both_at_one_step_and_one_process_ends_the_run(codes, tmp_path):
    run_in_process("train", *flags(codes, tmp_path / "whole"))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    workdir = tmp_path / "stopped"
    pair = [start(codes, workdir, port, number) for number in range(2)]
    try:
        deadline = time.monotonic() + 240
        while len(steps_logged(workdir)) < STOP_AFTER:
            assert time.monotonic() < deadline, "the two processes did not get to train"
            assert all(process.poll() is None for process in pair), pair[0].communicate()[1][-2000:]
            time.sleep(0.02)
        pair[1].send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=120)[1] for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert [process.returncode for process in pair] == [143, 143], said
    step = max(steps_logged(workdir))
    assert STOP_AFTER <= step < STEPS
    assert all(f"saved at step {step}" in text for text in said)

    run_in_process("train", *flags(codes, workdir))
    whole, stopped = (checkpoints.read_state(tmp_path / name) for name in ("whole", "stopped"))
    for name in ("params", "ema_params"):
        leaves = jax.tree.leaves(
            jax.tree.map(lambda a, b: np.abs(a - b).max(), whole[name], stopped[name])
        )
        assert max(leaves) <= 1e-6
    logs = [
        [json.loads(row) for row in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "stopped")
    ]
    losses = [[row["loss"] for row in log if row["split"] == "train"] for log in logs]
    assert len(losses[0]) == len(losses[1]) == STEPS
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


LEAVING = """
import os, sys, time
from jukejax.runtime import distributed
number = int(sys.argv[2])
distributed.join_processes(distributed.Place(sys.argv[1], 2, number))
time.sleep(4 * number)
distributed.leave_processes()
os._exit(143)
"""


def test_a_slow_process_is_waited_for():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVING, address, str(number)],
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in pair]
    assert [process.returncode for process in pair] == [143, 143], said


def test_a_place_is_given_whole_or_not_at_all():
    distributed.Place()
    with pytest.raises(ValueError, match="belong together"):
        distributed.Place(coordinator="localhost:1")
    with pytest.raises(ValueError, match=r"--process_id=2 is not below --num_processes=2"):
        distributed.Place("localhost:1", 2, 2)


def test_the_environment_says_whether_there_are_others(monkeypatch):
    for name in ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    assert not distributed.is_one_of_many()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not distributed.is_one_of_many()
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert distributed.is_one_of_many()
    monkeypatch.delenv("SLURM_NTASKS")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "a,b")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert distributed.is_one_of_many()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not distributed.is_one_of_many()
