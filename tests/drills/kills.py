"""Random kills of the commands that write; the same command, run again, ends with the same bytes.

Each command runs once without a kill, for its duration and its output. Then it is started, killed
with SIGKILL at a random moment, started again, and so on, and at last runs to its end.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jukejax.weights import bundle, checkpoints
from tests.drills.verdicts import Verdict
from tests.drills.workspace import Workspace
from tests.support.command import ROOT, command, environment

KILLS_IN_A_ROW = 5
PARALLEL = 2  # commands at once
VOLATILE = (".html", ".png", ".svg", ".css")  # pages have timings; the figures behind are compared


@dataclass(frozen=True)
class Drill:
    """A command to kill.

    Attributes:
      flags: of an output path.
      read: reads the output as comparable values by name.
    """

    verb: str
    flags: Callable[[Path], list[str]]
    read: Callable[[Path], dict[str, bytes]]


def run_drills(workspace: Workspace, count: int, seed: int) -> Iterator[Verdict]:
    """Kills each command in turn until there were `count` kills."""
    drills = list_drills(workspace)
    durations, expected = {}, {}
    for name, drill in drills.items():
        output = workspace.new_path(name)
        _run(drill, output)  # compiles
        expected[name] = drill.read(output)
        started_at = time.monotonic()
        _run(drill, workspace.new_path(name))
        durations[name] = time.monotonic() - started_at
    generator, series = random.Random(seed), []
    for first in range(0, count, KILLS_IN_A_ROW):
        name = list(drills)[first // KILLS_IN_A_ROW % len(drills)]
        moments = [
            generator.uniform(0.2, durations[name])
            for _ in range(min(KILLS_IN_A_ROW, count - first))
        ]
        series.append((name, workspace.new_path(name), moments))

    def run_series(entry: tuple[str, Path, list[float]]) -> list[Verdict]:
        name, output, moments = entry
        return _kill_and_compare(name, drills[name], output, moments, expected[name])

    with ThreadPoolExecutor(PARALLEL) as pool:
        for verdicts in pool.map(run_series, series):
            yield from verdicts


def _kill_and_compare(
    name: str, drill: Drill, output: Path, moments: list[float], expected: dict[str, bytes]
) -> list[Verdict]:
    for moment in moments:
        _run(drill, output, killed_after=moment)
    done = _run(drill, output)
    case = f"{name} killed after {', '.join(f'{moment:.2f}' for moment in moments)} s"
    fault = ""
    if done.returncode:
        fault = f"exit code {done.returncode} afterwards"
    else:
        content = drill.read(output)
        differing = {
            key for key in content.keys() | expected if content.get(key) != expected.get(key)
        }
        if differing:
            fault = f"other bytes: {', '.join(sorted(differing)[:3])}"
    message = done.stderr.strip().splitlines()[-1:]
    return [Verdict("kill", drill.verb, case, fault, "".join(message))] * len(moments)


def _run(
    drill: Drill, output: Path, killed_after: float | None = None
) -> subprocess.CompletedProcess:
    """Runs the command, to its end or until it is killed with its children."""
    process = subprocess.Popen(
        command(drill.verb, *drill.flags(output)),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=killed_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)  # workers end with their parent
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def list_drills(workspace: Workspace) -> dict[str, Drill]:
    """Returns the commands to kill, by name."""
    audio, vqvae = workspace.audio, workspace.vqvae
    return {
        "prepare": Drill(
            "prepare",
            lambda output: [
                f"--input={workspace.music}",
                f"--output={output}",
                "--separator=repet",
                "--workers=2",
            ],
            read_files,
        ),
        "train vqvae": Drill(
            "train", lambda output: workspace.train_flags("vqvae", output), read_state
        ),
        "train prior": Drill(
            "train", lambda output: workspace.train_flags("prior", output), read_state
        ),
        "encode": Drill(
            "encode",
            lambda output: [f"--vqvae={vqvae}", f"--input={audio}", f"--output={output}"],
            read_files,
        ),
        "export": Drill(
            "export",
            lambda output: [f"--workdir={vqvae},{workspace.prior}", f"--output={output}"],
            read_files,
        ),
        "convert": Drill(
            "convert",
            lambda output: [
                "--from=huggingface",
                f"--input={write_transformers_folder(workspace)}",
                f"--output={output}",
            ],
            read_files,
        ),
        "sample": Drill("sample", workspace.sample_flags, read_samples),
        "sample a loop": Drill("sample", workspace.loop_flags, read_samples),
        "evaluate": Drill(
            "evaluate",
            lambda output: [
                f"--input={workspace.samples}",
                f"--reference={audio}",
                f"--output={output}",
            ],
            read_files,
        ),
        "embed": Drill(
            "embed",
            lambda output: [
                f"--model={workspace.bundle}",
                f"--input={audio}",
                f"--output={output}",
            ],
            read_files,
        ),
        "audit": Drill(
            "audit",
            lambda output: [
                f"--input={workspace.samples}",
                f"--training={audio}",
                f"--output={output}",
            ],
            read_files,
        ),
    }


def write_transformers_folder(workspace: Workspace) -> Path:
    """Writes the bundle in the layout of Transformers, once."""
    from jukejax.weights.huggingface import checkpoint
    from tests.support import small_bundle

    folder = workspace.folder / "transformers"
    if not folder.exists():
        checkpoint.write_model(
            folder,
            small_bundle.configs("none"),
            lambda part: bundle.load_part(workspace.bundle / part)[1],
        )
    return folder


def read_files(output: Path) -> dict[str, bytes]:
    """Reads the files of an output, without work folders, locks and pages."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and path.suffix not in VOLATILE
        and not any(part.startswith(".") for part in path.relative_to(output).parts)
    }


def read_samples(output: Path) -> dict[str, bytes]:
    """Reads the codes and the sound of a sample folder; its meta.json has timings."""
    return {
        name: data for name, data in read_files(output).items() if name.endswith((".npz", ".wav"))
    }


def read_state(workdir: Path) -> dict[str, bytes]:
    """Reads the newest checkpoint of a training run."""
    leaves = jax.tree_util.tree_leaves_with_path(checkpoints.read_state(workdir))
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
