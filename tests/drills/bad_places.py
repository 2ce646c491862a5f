"""Bad places: outputs and inputs that are files, pipes, devices, links in a circle or full."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.drills.verdicts import Verdict, judge_refusal
from tests.drills.workspace import Workspace


def run_drills(workspace: Workspace) -> list[Verdict]:
    """Runs all drills of this module."""
    return [*_drill_outputs(workspace), *_drill_inputs(workspace)]


def _commands(workspace: Workspace, output: str) -> dict[str, list[str]]:
    """Returns the flags of each command that writes a folder."""
    where = f"--output={output}"
    return {
        "prepare": [f"--input={workspace.music}", where, "--separator=none", "--workers=1"],
        "train": [*workspace.train_flags("vqvae", Path(output)), "--config.steps=1"],
        "encode": [f"--vqvae={workspace.vqvae}", f"--input={workspace.audio}", where],
        "export": [f"--workdir={workspace.vqvae}", where],
        "sample": [f"--model={workspace.bundle}", "--seconds=1", where],
        "evaluate": [f"--input={workspace.music}", where],
        "audit": [f"--input={workspace.samples}", f"--training={workspace.audio}", where],
    }


def _drill_outputs(workspace: Workspace) -> Iterator[Verdict]:
    file = workspace.new_path("file")
    file.write_text("a file")
    pipe = workspace.new_path("pipe")
    os.mkfifo(pipe)
    circle = workspace.new_path("circle")
    circle.symlink_to(circle)
    places = {
        "a file": str(file),
        "below a file": str(file / "below"),
        "below /proc": "/proc/nothing/here",
        "a pipe": str(pipe),
        "a link to itself": str(circle),
        "a name of 300 letters": str(workspace.folder / ("x" * 300)),
    }
    for case, place in places.items():
        for verb, flags in _commands(workspace, place).items():
            culprit = {"a name of 300 letters": "x" * 300, "below /proc": "/proc/nothing"}.get(
                case, Path(place).name
            )
            yield judge_refusal("place", f"output is {case}", verb, flags, culprit=culprit)


def _drill_inputs(workspace: Workspace) -> Iterator[Verdict]:
    pipe = workspace.new_path("pipe").with_suffix(".wav")
    os.mkfifo(pipe)
    folder = workspace.new_path("closed")
    folder.mkdir()
    with tempfile.TemporaryDirectory() as empty:
        inputs = {
            "a pipe": (str(pipe), pipe.name),
            "an empty folder": (empty, empty),
            "a device": ("/dev/null", "/dev/null"),
            "a missing path": ("/no/such/input", "/no/such/input"),
        }
        for case, (place, culprit) in inputs.items():
            output = workspace.new_path()
            commands = {
                "prepare": [f"--input={place}", f"--output={output}"],
                "evaluate": [f"--input={place}", f"--output={output}"],
                "audit": [
                    f"--input={place}",
                    f"--training={workspace.audio}",
                    f"--output={output}",
                ],
                "sample": [*workspace.sample_flags(output), "--mode=primed", f"--prompt={place}"],
                "sample ": [*workspace.sample_flags(output), "--mode=upsample", f"--codes={place}"],
            }
            for verb, flags in commands.items():
                yield judge_refusal(
                    "place", f"input is {case}", verb.strip(), flags, culprit=culprit, output=output
                )
