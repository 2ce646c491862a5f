"""The scripts of whole demos: tune.sh and from_scratch.sh, with a stand-in for Python."""

import os
import re
import subprocess

import pytest

from tests.support.command import ROOT
from tests.support.launch import LAUNCH, write_script


@pytest.mark.parametrize(
    ("target", "script"),
    [("demo", "tune.sh"), ("from-scratch", "from_scratch.sh")],
)
def test_demos_run_in_the_environment_with_any_python(target, script):
    """`make` hands variables of its command line on to what it starts."""
    command = ["make", "--dry-run", target, "PYTHON=/usr/bin/python3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"PYTHON=.venv/bin/python launch/{script}" in done.stdout


@pytest.mark.parametrize(
    ("size", "stages"),
    [
        ("cpu", ["prior", "upsampler1", "upsampler0"]),
        ("openai_small", ["small_prior-22k", "small_upsampler"]),
    ],
)
def test_from_scratch_trains_the_models_of_its_size(tmp_path, size, stages):
    """With a stand-in for Python that records its arguments."""
    python = write_script(tmp_path / "python", '#!/bin/bash\necho "$@" >> "$(dirname $0)/seen"\n')
    environment = os.environ | {"SIZE": size, "RUN": str(tmp_path / "run"), "PYTHON": str(python)}
    script = LAUNCH / "from_scratch.sh"
    subprocess.run(["bash", script], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = (tmp_path / "seen").read_text().splitlines()
    trained = [re.search(r"configs/\w+\.py:(\S+)", line)[1] for line in lines if "--config" in line]
    assert trained[2:] == stages
    assert ("--sample_rate=22050" in lines[0]) == (size == "openai_small")
    folders = re.search(r"--priors=(\S+)", lines[-1])[1].split(",")
    assert len(folders) == len(stages)
    (export,) = (line for line in lines if "jukejax.export" in line)
    assert re.search(r"--workdir=(\S+)", export)[1].split(",")[1:] == folders


@pytest.mark.parametrize(("audit_code", "is_page_written"), [(0, True), (3, True), (2, False)])
def test_tuning_ends_at_an_error_of_a_stage_and_goes_on_after_copies(
    tmp_path, audit_code, is_page_written
):
    """With a stand-in for Python; `audit` ends with 3 for copied music."""
    text = f'case "$*" in *jukejax.audit*) exit {audit_code} ;; esac\n'
    python = write_script(
        tmp_path / "python", f'#!/bin/bash\necho "$@" >> "$(dirname $0)/seen"\n{text}'
    )
    environment = os.environ | {"RUN": str(tmp_path / "run"), "PYTHON": str(python)}
    environment["MUSIC"] = str(tmp_path)
    done = subprocess.run(
        ["bash", LAUNCH / "tune.sh"], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    assert (done.returncode == 0) == is_page_written
    last = (tmp_path / "seen").read_text().splitlines()[-1]
    assert ("jukejax.report" in last) == is_page_written
