"""launch/gpu_check.sh without a GPU: its calls, the figures that it writes, and its exit codes.

A script replaces Python: it answers for tests, benches and the demo; only the part that writes the
figures is run.
"""

import json
import os
import subprocess
import sys

from tests.support.command import ROOT

REPLACEMENT = """#!/bin/bash
if [ "$1" = - ]; then
    if [ ! -e "$SEEN/looked" ]; then touch "$SEEN/looked"; exit 0; fi   # it sees a GPU
    exec "$REAL" -
fi
printf '%s\\n' "$*" >> "$SEEN/calls"
case "$*" in
    *jukejax.bench*"$FAILS"*) echo broken >&2; exit 2 ;;
    *jukejax.bench*) echo "{\\"bench\\": \\"$3\\"}" ;;
esac
"""


def run_check(tmp_path, fails: str, **more: str) -> tuple[int, list[str], dict]:
    """Runs the script with failing benches; returns (exit code, calls, figures)."""
    replacement = tmp_path / "python"
    replacement.write_text(REPLACEMENT)
    replacement.chmod(0o755)
    changed = {
        "SEEN": str(tmp_path),
        "REAL": sys.executable,
        "FAILS": fails,
        "PYTHON": str(replacement),
    }
    environment = os.environ | changed | {"OUT": str(tmp_path / "out"), **more}
    done = subprocess.run(
        [ROOT / "launch" / "gpu_check.sh"], env=environment, capture_output=True, text=True
    )
    (figures,) = (tmp_path / "out").glob("gpu_check_*.json")
    calls = (tmp_path / "calls").read_text().splitlines()
    return done.returncode, calls, json.loads(figures.read_text())


def test_script_runs_tests_and_benches_and_writes_every_row(tmp_path):
    code, calls, figures = run_check(tmp_path, fails="nothing")
    assert code == 0
    assert "pytest" in calls[0]
    benches = [call.split()[2] for call in calls if "jukejax.bench" in call]
    assert set(benches) >= {"attention", "decode", "train", "vqvae"}
    assert [row["bench"] for row in figures["benches"]] == benches
    assert any("--weights=int8" in call for call in calls)
    assert any("jukejax.sample" in call for call in calls)  # the demo


def test_failed_bench_does_not_end_the_others_but_fails_the_check(tmp_path):
    code, calls, figures = run_check(tmp_path, fails="vqvae")
    assert code == 1
    assert figures["benches_failed"] == 1
    assert any("--weights=int8" in call for call in calls)  # which comes after it
    assert "vqvae" not in {row["bench"] for row in figures["benches"]}


def test_no_bench_starts_after_its_time(tmp_path):
    code, calls, figures = run_check(tmp_path, fails="nothing", BENCH_UNTIL="-1")
    assert code == 1
    assert not any("jukejax.bench" in call for call in calls)
    assert figures["benches"] == []
