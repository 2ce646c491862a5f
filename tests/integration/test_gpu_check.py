"""launch/gpu_check.sh without a GPU: its calls and their order, its files, and its exit codes.

A script replaces Python: it answers for the machine, benches, tests and the pipeline; only the
program that runs the steps is run.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.command import ROOT

REPLACEMENT = """#!/bin/bash
case "$*" in
    *gpu_check.py*) exec "$REAL" "$@" ;;
    -c*) echo "$MACHINE"; exit ;;
esac
printf '%s\\n' "$*" >> "$SEEN/calls"
case "$*" in
    *jukejax.bench*"$FAILS"*) echo broken >&2; exit 3 ;;
    *jukejax.bench*) printf "$ROW\\n" "$3" ;;
esac
[[ "$*" != *"$SLEEPS"* ]] || sleep 60
"""
ROW = '{"bench": "%s", "what": "a row", "seconds": 3.0, "bound_seconds": 1.5}'
MACHINE = {
    "platform": "gpu",
    "device": "NVIDIA H200",
    "jax": "0.11.2",
    "missing": [],
    "missing_of_benches": [],
}


def load_script():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "launch" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tmp_path):
    replacement = tmp_path / "python"
    replacement.write_text(REPLACEMENT)
    replacement.chmod(0o755)
    return os.environ | {
        "SEEN": str(tmp_path),
        "REAL": sys.executable,
        "PYTHON": str(replacement),
        "OUT": str(tmp_path / "out"),
        "MACHINE": json.dumps(MACHINE),
        "ROW": ROW,
        "FAILS": "nothing",
        "SLEEPS": "nothing",
    }


def start_check(environment, **changed):
    return subprocess.Popen(
        [ROOT / "launch" / "gpu_check.sh"],
        env=environment | changed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_check(tmp_path, environment, **changed):
    """Runs the script; returns (exit code, calls, figures)."""
    process = start_check(environment, **changed)
    process.communicate()
    calls = (tmp_path / "calls").read_text().splitlines()
    return process.returncode, calls, read_figures(tmp_path)


def read_figures(tmp_path):
    (path,) = (tmp_path / "out").glob("gpu_check_NVIDIA_H200_*.json")
    return json.loads(path.read_text())


def test_steps_run_in_the_order_of_their_value_and_every_row_is_written(tmp_path, environment):
    code, calls, figures = run_check(tmp_path, environment)
    assert code == 0
    kinds = ["pytest" if "pytest" in call else call.split()[2] for call in calls]
    benches = [kind for kind in kinds if kind in ("decode", "train", "vqvae", "attention")]
    assert list(dict.fromkeys(benches)) == ["decode", "train", "vqvae", "attention"]
    assert kinds[len(benches)] == "pytest"
    assert any("jukejax.sample" in call for call in calls[len(benches) + 1 :])  # from scratch
    assert [row["bench"] for step in figures["steps"] for row in step["rows"]] == benches
    assert [step["state"] for step in figures["steps"]] == ["ok"] * len(figures["steps"])
    assert figures["demo"]["timings"].keys() >= {"train the VQ-VAE", "sample two tracks"}
    decodes = [call for call in calls if "jukejax.bench decode" in call]
    assert [("--batch=8" in call) for call in decodes[:2]] == [False, True]


def test_table_has_the_bound_of_every_row(tmp_path, environment):
    run_check(tmp_path, environment)
    table = (tmp_path / "out" / "gpu_check.txt").read_text().splitlines()
    rows = [line for line in table if "a row" in line]
    assert len(rows) == 10
    assert {tuple(row.split()[2:5]) for row in rows} == {("3", "1.5", "2")}


def test_failed_bench_does_not_end_the_others_but_fails_the_check(tmp_path, environment):
    code, calls, figures = run_check(tmp_path, environment, FAILS="vqvae")
    assert code == 1
    failed = [step for step in figures["steps"] if step["state"] == "failed"]
    assert {step["exit_code"] for step in failed} == {3}
    assert {step["step"] for step in failed} == {"vqvae codec", "vqvae training"}
    assert any("jukejax.sample" in call for call in calls)  # which comes after it
    assert "broken" in (tmp_path / "out" / "gpu_bench.log").read_text()


def test_run_that_is_killed_keeps_the_steps_before(tmp_path, environment):
    """And a step that was running ends with it."""
    process = start_check(environment, SLEEPS="vqvae")
    deadline = time.monotonic() + 60
    while not (tmp_path / "calls").exists() or "vqvae" not in (tmp_path / "calls").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    steps = read_figures(tmp_path)["steps"]
    assert steps[-1]["step"] == "train 1b"
    assert all(len(step["rows"]) == 1 for step in steps)


def test_step_past_its_limit_is_cut_and_keeps_its_rows(tmp_path):
    script = load_script()
    row = json.dumps({"bench": "decode"})
    command = ["bash", "-c", f"echo '{row}'; echo '{{\"unfin'; sleep 60 & wait"]
    started_at = time.monotonic()
    record = script.run_step(script.Step("decode", 9, command), 0.5, tmp_path)
    assert time.monotonic() - started_at < 9
    assert (record["state"], record["exit_code"]) == ("cut", None)
    assert record["rows"] == [{"bench": "decode"}]


def test_no_step_begins_without_time_and_only_from_scratch_may_miss_it(tmp_path, environment):
    process = start_check(environment, LIMIT="0")
    process.communicate()
    assert process.returncode == 1
    assert not (tmp_path / "calls").exists()
    assert {step["state"] for step in read_figures(tmp_path)["steps"]} == {"no time"}


def test_benches_end_before_the_time_of_all_steps():
    script = load_script()
    steps = script.list_steps("released")
    assert sum(step.limit for step in steps if step.rows) < 470


def test_stages_of_a_pipeline_that_was_cut_are_read(tmp_path):
    (tmp_path / "timings.json.tmp").write_text('{\n  "prepare": 5,\n  "train": 30,\n')
    assert load_script().read_demo(tmp_path)["timings"] == {"prepare": 5, "train": 30}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"platform": "cpu"}, "no accelerator"),
        ({"missing_of_benches": ["grain"]}, "lacks grain"),
    ],
)
def test_machine_that_cannot_run_the_benches_is_refused(environment, changed, fault):
    process = start_check(environment, MACHINE=json.dumps(MACHINE | changed))
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert fault in stderr
