"""The tests of the folder eight_devices, in a process that has eight."""

import subprocess
import sys

import pytest

from tests.support.command import ROOT, environment


def run(folder, marked):
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", marked, f"--basetemp={folder}"]
    done = subprocess.run(
        [*command, "tests/eight_devices"],
        cwd=ROOT,
        env=environment("--xla_force_host_platform_device_count=8"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


def test_eight_devices(tmp_path):
    run(tmp_path / "pytest", "not slow")


@pytest.mark.slow
def test_eight_devices_every_model_on_every_mesh(tmp_path):
    run(tmp_path / "pytest", "slow")
