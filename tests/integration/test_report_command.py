"""`report` from the command line: figures, warnings and refusals."""

import json
import os
import subprocess
import sys

import numpy as np

from jukejax.data import audio
from tests.support.command import run_in_process


def run_process(*flags):
    command = [sys.executable, "-m", "jukejax.report", *map(str, flags)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, check=False
    )


def test_report_prints_the_figures_and_where_to_look(tmp_path):
    item = tmp_path / "samples/item_000"
    item.mkdir(parents=True)
    (item / "meta.json").write_text(
        json.dumps({"seconds": 6.0, "seconds_per_second_of_audio": 2.5, "seed": 3})
    )
    audio.write_wav(item / "level_2.wav", np.full((4000, 1), 0.1, np.float32))
    held = {"bits_per_code": 4.0, "histogram_entropy": 5.0}
    for level in (2, 1):
        folder = tmp_path / f"prior_{level}"
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"heldout": held}))
    (tmp_path / "timings.json").write_text('{"train": 61, "sample": 9.4}')
    done = run_process(
        f"--samples={tmp_path / 'samples'}",
        f"--priors={tmp_path / 'prior_2'},{tmp_path / 'prior_1'},{tmp_path / 'prior_0'}",
        f"--timings={tmp_path / 'timings.json'}",
        f"--output={tmp_path / 'page'}",
    )
    assert done.returncode == 0
    assert done.stderr == f"warning: --priors={tmp_path / 'prior_0'} does not exist; " + (
        "the page leaves it out\n"
    )
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "bits per code, level 2 4.00 of 5.00 (20.0 % saved)",
        "bits per code, level 1 4.00 of 5.00 (20.0 % saved)",
        "generated tracks 1 track of 6.0 s",
        "computing per second of music 2.5 s",
        "time in all 1 min 10 s",
        f"Look and listen: {(tmp_path / 'page/index.html').as_uri()}",
    ]
    assert (tmp_path / "page/assets/item_000_level_2.wav").exists()


def test_bad_flags_end_with_one_line_and_code_2(tmp_path):
    for flags, message in (
        ([f"--samples={tmp_path}"], "--output is missing"),
        ([f"--output={tmp_path}"], "nothing to show"),
    ):
        done = run_in_process("report", *flags, code=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
