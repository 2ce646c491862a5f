"""A command whose main thread is stuck in compiled code can be ended."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support.command import ROOT, environment

# Locks a mutex twice: the main thread never returns to Python, as from a program that hangs.
STUCK = """
import ctypes, sys
from absl import flags
from jukejax import cli
from jukejax.common import interruption
interruption.GRACE_SECONDS = 1.0

def get_stuck():
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    print("stuck", flush=True)
    libc.pthread_mutex_lock(mutex)
"""
COMMAND = STUCK + "cli.run(get_stuck, 'doc', flags.FlagValues(), ['stuck'])"


def start(program: str, *arguments: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.strip() == "stuck":
            time.sleep(0.5)  # until it waits for the mutex
            return process
    raise AssertionError(process.stderr.read())


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr.strip().splitlines()[-1]


def test_the_second_interrupt_ends_a_stuck_command_at_once():
    process = start(COMMAND)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert process.poll() is None, "the first one lets the command end by itself"
    process.send_signal(signal.SIGINT)
    assert end_of(process) == (130, "interrupted twice, stopped at once")


def test_sigterm_ends_a_stuck_command_after_the_grace_period():
    process = start(COMMAND)
    process.send_signal(signal.SIGTERM)
    code, line = end_of(process)
    assert code == 143
    assert line == "stopped by SIGTERM after 1 s without progress"


TRAINING = (
    STUCK
    + """
from pathlib import Path
from jukejax.training import loop, program
from tests.training.test_loop import config_of

build = program.build_program
def build_and_get_stuck(*args):
    built = build(*args)
    calls = iter(range(1000))
    def update(*args):
        return get_stuck() if next(calls) == 3 else built.update(*args)
    return built.__class__(**{**vars(built), "update": update})
program.build_program = build_and_get_stuck

config = config_of(sys.argv[1], steps=10)
config.checkpoint_every = 2
config.model.transformer.update(num_layers=1, attn_order=0)
train = lambda: loop.Training(config, Path(sys.argv[2])).run()
cli.run(train, "doc", flags.FlagValues(), ["train"])
"""
)


@pytest.mark.parametrize(
    ("signals", "code", "reason"),
    [
        pytest.param(
            [signal.SIGINT, signal.SIGINT],
            130,
            "interrupted twice, stopped at once",
            marks=pytest.mark.slow,
        ),
        ([signal.SIGTERM], 143, "without progress"),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_stuck_training_step_is_ended_and_says_what_is_saved(
    tmp_path, codes, signals, code, reason
):
    process = start(TRAINING, str(codes), str(tmp_path))
    time.sleep(2.0)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    returncode, line = end_of(process)
    assert returncode == code
    assert reason in line
    assert line.endswith(
        "; last checkpoint: step 2; run the same command again to continue from it"
    )


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    from tests.support.small_codes import write_codes

    return write_codes(tmp_path_factory.mktemp("codes"))
