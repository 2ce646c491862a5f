"""The launch scripts: the same command in every process, signals passed on, exit codes returned.

Cluster tools (gcloud, srun, ...) and, but for one slow test, training itself are replaced by small
scripts that record their arguments.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from jukejax.common import files
from jukejax.data import corpus, records
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from tests.support.command import ROOT
from tests.support.launch import LAUNCH, write_script

FLAGS = ("--config=configs/tiny.py:prior", "--workdir=a folder/run", "--config.steps=3")

# Replaces `python -m jukejax.train`: process FAILS ends with code 7, others wait for SIGTERM.
TRAIN = """#!/bin/bash
number=0
for flag in "$@"; do case $flag in --process_id=*) number=${flag#*=};; esac; done
printf '%s\\n' "$@" > "$SEEN/arguments_$number"
printf '%s\\n' "${CUDA_VISIBLE_DEVICES:-none}" "${JAX_NUM_PROCESSES:-none}" > "$SEEN/place_$number"
[ "${FAILS:-}" != "$number" ] || { echo "error: no such thing"; exit 7; }
[ -z "${WAITS:-}" ] && exit 0
trap 'echo stopped > "$SEEN/stopped_$number"; exit 143' TERM
touch "$SEEN/ready_$number"
while true; do sleep 0.01; done
"""


@pytest.fixture
def seen(tmp_path):
    """The folder where the replacements record their arguments and environment."""
    folder = tmp_path / "seen"
    folder.mkdir()
    write_script(tmp_path / "bin" / "python", TRAIN)
    return folder


def make_environment(seen: Path, **changed: str) -> dict[str, str]:
    tools = seen.parent / "bin"
    inherited = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    return inherited | {
        "SEEN": str(seen),
        "PYTHON": str(tools / "python"),
        "LOGS": str(seen.parent / "logs"),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PORT": "4321",
        **changed,
    }


def start(script: str, *args: str, env: dict[str, str], cwd: Path = ROOT) -> subprocess.Popen:
    return subprocess.Popen(
        [LAUNCH / script, *args], cwd=cwd, env=env, text=True, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Returns (exit code, stderr)."""
    stderr = process.communicate(timeout=60)[1]
    return process.returncode, stderr


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"none of {[str(path) for path in paths]} was written"
        time.sleep(0.005)


def read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_sound_and_executable(path):
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--severity=warning", "--exclude=SC2164", path], check=True)
    for name in re.findall(r"configs/[a-z0-9_]+\.py", path.read_text()):
        assert (ROOT / name).is_file(), f"{path.name} names {name}"


# -- gpu_local.sh --------------------------------------------------------------------------------


def test_each_gpu_gets_a_process_with_the_same_command(seen):
    process = start(
        "gpu_local.sh", *FLAGS, env=make_environment(seen, CUDA_VISIBLE_DEVICES="2,5,7")
    )
    assert finish(process) == (0, "")
    for number, gpu in enumerate("257"):
        assert read_lines(seen / f"arguments_{number}") == [
            *("-m", "jukejax.train", *FLAGS),
            *("--coordinator=localhost:4321", "--num_processes=3", f"--process_id={number}"),
        ]
        assert read_lines(seen / f"place_{number}")[0] == gpu


def test_single_process_gets_no_coordinator(seen):
    process = start("gpu_local.sh", *FLAGS, env=make_environment(seen, PROCESSES="1"))
    assert finish(process) == (0, "")
    assert read_lines(seen / "arguments_0") == ["-m", "jukejax.train", *FLAGS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_every_process_and_the_exit_code_is_returned(seen, number):
    process = start("gpu_local.sh", *FLAGS, env=make_environment(seen, PROCESSES="2", WAITS="1"))
    wait_for(seen / "ready_0", seen / "ready_1")
    process.send_signal(number)
    assert finish(process)[0] == 143
    assert (seen / "stopped_0").exists()
    assert (seen / "stopped_1").exists()


def test_failed_process_stops_the_others_and_is_named(seen):
    env = make_environment(seen, PROCESSES="3", WAITS="1", FAILS="1")
    process = start("gpu_local.sh", *FLAGS, env=env)
    code, stderr = finish(process)
    assert code == 7
    assert "process 1 ended with exit code 7" in stderr
    assert "error: no such thing" in stderr


def test_hanging_process_is_killed(seen):
    hangs = TRAIN.replace("trap 'echo", "trap '' TERM; : 'echo")
    write_script(seen.parent / "bin" / "python", hangs)
    env = make_environment(seen, PROCESSES="2", WAITS="1", FAILS="0", GRACE="1")
    process = start("gpu_local.sh", *FLAGS, env=env)
    assert finish(process)[0] == 7


def test_more_processes_than_gpus_are_refused(seen):
    env = make_environment(seen, CUDA_VISIBLE_DEVICES="0", PROCESSES="2")
    process = start("gpu_local.sh", *FLAGS, env=env)
    code, stderr = finish(process)
    assert code == 2
    assert "PROCESSES=2, but GPUs: 1; give that many or fewer" in stderr


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    codes = tmp_path / "codes"
    names = Vocabulary.build(["a"], ["house"])
    with DatasetWriter(
        codes, kind="codes", vocabulary=names, codebook_size=16, vqvae={"hash": "x"}
    ) as writer:
        for split in corpus.SPLITS:
            levels = {
                f"level_{k}": np.full(600 * 128 // hop, k) for k, hop in enumerate(records.HOPS)
            }
            writer.add(split, corpus.Track(split, artist="a", genre=("house",)), **levels)
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PROCESSES": "2"}
    env["LOGS"] = str(tmp_path / "logs")
    workdir = tmp_path / "run"
    done = subprocess.run(
        [
            LAUNCH / "gpu_local.sh",
            "--config=configs/tiny.py:prior",
            f"--workdir={workdir}",
            f"--config.data.folder={codes}",
            "--config.steps=3",
            "--config.mesh.data=2",
        ],
        env=env,
        capture_output=True,
        text=True,
    )
    log = (tmp_path / "logs" / "process_1.log").read_text()
    assert done.returncode == 0, done.stderr[-3000:] + log[-3000:]
    assert "on 2 devices" in log
    assert files.read_json(workdir / "summary.json")["steps"] == 3
    steps = [line for line in read_lines(workdir / "metrics.jsonl") if '"train"' in line]
    assert len(steps) == 3, "one writer"


# -- slurm.sh ------------------------------------------------------------------------------------

SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$SEEN/srun"
while [[ $1 == --* ]]; do shift; done
echo $$ > "$SEEN/step"
exec "$@"
"""
SCANCEL = """#!/bin/bash
echo "$*" > "$SEEN/scancel"
kill -TERM "$(cat "$SEEN/step")"
"""
SCONTROL = '#!/bin/bash\necho "$*" > "$SEEN/scontrol"\n'


@pytest.fixture
def slurm(seen, tmp_path):
    for name, text in (("srun", SRUN), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        write_script(tmp_path / "bin" / name, text)
    return make_environment(seen, SLURM_JOB_ID="77", SLURM_SUBMIT_DIR=str(tmp_path))


def test_slurm_starts_the_command_in_every_task(seen, slurm):
    process = start("slurm.sh", *FLAGS, env=slurm)
    assert finish(process) == (0, "")
    assert read_lines(seen / "arguments_0") == ["-m", "jukejax.train", *FLAGS]
    assert "--gpu-bind=none" in read_lines(seen / "srun")
    assert not (seen / "scontrol").exists()


def test_slurm_saves_before_the_time_limit_and_queues_again(seen, slurm):
    process = start("slurm.sh", *FLAGS, env=slurm | {"WAITS": "1"})
    wait_for(seen / "ready_0")
    process.send_signal(signal.SIGUSR1)
    assert finish(process)[0] == 143
    assert (seen / "scancel").read_text() == "--signal=TERM 77.0\n"
    assert (seen / "scontrol").read_text() == "requeue 77\n"


def test_slurm_does_not_requeue_a_failed_job(seen, slurm):
    process = start("slurm.sh", *FLAGS, env=slurm | {"FAILS": "0"})
    assert finish(process)[0] == 7
    assert not (seen / "scontrol").exists()


# -- tpu_pod.sh ----------------------------------------------------------------------------------

GCLOUD = """#!/bin/bash
printf '%s\\n' "$@" > "$SEEN/gcloud"
cd "$SEEN/host" && exec bash -c "${!#/--command=/}"
"""
# Two hosts, in the form of the metadata server.
CURL = '#!/bin/bash\nprintf "unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3"\n'


@pytest.fixture
def pod(seen, tmp_path):
    write_script(tmp_path / "bin" / "gcloud", GCLOUD)
    write_script(tmp_path / "bin" / "curl", CURL)
    write_script(seen / "host" / "jukejax" / ".venv" / "bin" / "python", TRAIN)
    return make_environment(seen)


def test_pod_runs_the_command_on_every_host_with_the_number_of_hosts(seen, pod):
    process = start("tpu_pod.sh", "mine", "us-central2-b", *FLAGS, env=pod)
    assert finish(process) == (0, "")
    call = read_lines(seen / "gcloud")
    assert shlex.join(call[:5]) == "compute tpus tpu-vm ssh mine"
    assert call[5:7] == ["--zone=us-central2-b", "--worker=all"]
    assert read_lines(seen / "arguments_0") == ["-m", "jukejax.train", *FLAGS]
    assert read_lines(seen / "place_0")[1] == "2"


def test_exit_code_of_a_pod_is_returned(pod):
    process = start("tpu_pod.sh", "a", "b", *FLAGS, env=pod | {"FAILS": "0"})
    assert finish(process)[0] == 7


def test_pod_is_stopped_through_one_host(seen, pod):
    training = start("tpu_pod.sh", "mine", "zone", *FLAGS, env=pod | {"WAITS": "1"})
    wait_for(seen / "ready_0", seen / "host" / "jukejax" / "train.pid")
    assert finish(start("tpu_pod.sh", "mine", "zone", "stop", env=pod)) == (0, "")
    assert "--worker=0" in read_lines(seen / "gcloud")
    assert finish(training)[0] == 143


def test_pod_needs_a_name_and_a_zone(pod):
    process = start("tpu_pod.sh", FLAGS[0], env=pod)
    code, stderr = finish(process)
    assert code == 2
    assert "NAME ZONE" in stderr
