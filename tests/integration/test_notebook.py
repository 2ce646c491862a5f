"""The notebook of docs/ runs from top to bottom."""

import json
import subprocess
import sys

import pytest

from tests.support.command import ROOT, environment

PATH = ROOT / "docs" / "house.ipynb"
SKIPPED = "skip-execution"  # the tag of cells that need a notebook, which nbclient skips as well


def read_cells():
    return json.loads(PATH.read_text("utf-8"))["cells"]


def test_the_notebook_is_small_and_without_outputs():
    codes = [cell for cell in read_cells() if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in codes)
    assert PATH.stat().st_size < 20_000
    first = "".join(codes[0]["source"])
    assert "pip install" in first
    used = "".join("".join(cell["source"]) for cell in codes)
    for name in ("load", "sample", "encode", "decode", "embed", "audit", "write_folder"):
        assert f".{name}(" in used


@pytest.mark.slow
def test_every_cell_runs(tmp_path):
    program = "\n\n".join(
        "".join(cell["source"])
        for cell in read_cells()
        if cell["cell_type"] == "code" and SKIPPED not in cell["metadata"].get("tags", ())
    )
    (tmp_path / "notebook.py").write_text(program, "utf-8")
    variables = environment() | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "level 0: " in done.stdout
    assert (tmp_path / "tracks" / "item_000" / "level_0.wav").exists()
    assert (tmp_path / "track.wav").exists()
