"""launch/gpu_check.sh without a GPU: what it calls, what it keeps, and how it ends.

Python is played by a script: it answers for tests, benches and the road, and only the part that
writes the figures is really run.
"""

import json
import os
import subprocess
import sys

from tests.support.command import ROOT

PLAYER = """#!/bin/bash
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


def check(tmp_path, fails: str, **more: str) -> tuple[int, list[str], dict]:
    """(exit code, calls, figures) of the script where benches with `fails` in their flags fail."""
    player = tmp_path / "python"
    player.write_text(PLAYER)
    player.chmod(0o755)
    told = {"SEEN": str(tmp_path), "REAL": sys.executable, "FAILS": fails, "PYTHON": str(player)}
    environment = os.environ | told | {"OUT": str(tmp_path / "out"), **more}
    done = subprocess.run(
        [ROOT / "launch" / "gpu_check.sh"], env=environment, capture_output=True, text=True
    )
    (figures,) = (tmp_path / "out").glob("gpu_check_*.json")
    calls = (tmp_path / "calls").read_text().splitlines()
    return done.returncode, calls, json.loads(figures.read_text())


def test_one_call_tests_and_benches_and_keeps_every_row(tmp_path):
    code, calls, figures = check(tmp_path, fails="nothing")
    assert code == 0
    assert "pytest" in calls[0]
    benches = [call.split()[2] for call in calls if "jukejax.bench" in call]
    assert set(benches) >= {"attention", "decode", "train", "vqvae"}
    assert [row["bench"] for row in figures["benches"]] == benches
    assert any("--weights=int8" in call for call in calls)
    assert any("jukejax.sample" in call for call in calls)  # the road


def test_a_bench_that_fails_does_not_end_the_others_but_the_check_fails(tmp_path):
    code, calls, figures = check(tmp_path, fails="vqvae")
    assert code == 1
    assert figures["benches_failed"] == 1
    assert any("--weights=int8" in call for call in calls)  # which comes after it
    assert "vqvae" not in {row["bench"] for row in figures["benches"]}


def test_no_bench_begins_after_its_time(tmp_path):
    code, calls, figures = check(tmp_path, fails="nothing", BENCH_UNTIL="-1")
    assert code == 1
    assert not any("jukejax.bench" in call for call in calls)
    assert figures["benches"] == []
