"""Every command of README.md and docs/*.md runs, page by page, in the order of the page.

A command runs as it is written, in a project of its own with a few short records, but for the
replacements of `SHORTER` and the flags of `ADDED`, which make it short. A command that cannot run
here is in `NOT_RUN` with its reason. A new command runs too: it fails if it is wrong, and if it
needs what the project lacks it gets an entry in one of the tables.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from PIL import Image

from jukejax.data.audio import load_audio
from tests.support.command import ROOT, environment
from tests.support.docs_blocks import (
    COMMAND,
    is_requests,
    read_blocks,
    read_commands,
    split_commands,
)

PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BUCKET = "needs a bucket; tests/integration/test_bucket_pipeline.py runs such commands"
NOT_RUN = {
    "git clone URL jukejax && cd jukejax": "needs the address of a repository",
    "make setup": "installs packages from the network",
    ".venv/bin/pip install -e '.[cuda13]'": "installs packages from the network, for a GPU",
    "make spleeter-weights": "downloads 73 MB",
    "make demo": "five minutes; tests/integration/test_demos.py runs its steps",
    "make test": "runs the tests themselves",
    "make serve": "runs until it is stopped, after it has installed packages from the network",
    ".venv/bin/jukejax serve --projects=FOLDER": "tests/studio/test_page.py runs it",
    ".venv/bin/pip install -e '.[buckets]'": "installs packages from the network",
    ".venv/bin/jukejax prepare --input=s3://mine/music --output=s3://mine/audio": BUCKET,
    ".venv/bin/jukejax train --config=configs/from_scratch.py:vqvae "
    "--config.data.folder=s3://mine/audio --workdir=s3://mine/runs/vqvae": BUCKET,
    ".venv/bin/jukejax encode --vqvae=s3://mine/runs/vqvae --input=s3://mine/audio "
    "--output=s3://mine/codes": BUCKET,
    ".venv/bin/jukejax export --workdir=s3://mine/runs/vqvae,s3://mine/runs/prior "
    "--output=s3://mine/bundle": BUCKET,
    ".venv/bin/jukejax sample --model=s3://mine/bundle "
    "--requests=s3://mine/requests.jsonl --output=s3://mine/takes": BUCKET,
}
# Page, text of a command, what stands there instead.
SHORTER = (
    # The tracks that the page shows; `out` is written by a later command.
    ("README.md", "--seconds=32 --seed=0 --output=out", "--seconds=1 --seed=0 --output=shown"),
    (
        "README.md",
        "from_scratch.py:vqvae-gpu",
        "from_scratch.py:vqvae",
    ),  # as the page says for CPUs
    ("README.md", "from_scratch.py:$model-gpu", "from_scratch.py:$model"),
    ("README.md", "--seconds=20", "--seconds=2"),
    ("docs/attention.md", "--config=small", "--config=tiny"),
    ("docs/embeddings.md", "models/1b_lyrics", "models/mine"),
    ("docs/embeddings.md", "--layers=36", "--layers=3"),
    ("docs/embeddings.md", "mean --output=embeddings", "mean --output=means"),
    (
        "docs/grid.md",
        "--house_tracks=320 --house_seconds=30",
        "--house_tracks=4 --house_seconds=13",
    ),
    ("docs/lyrics.md", "MODEL", "models/sung"),
    ("docs/lyrics.md", "SAMPLES", "out/sung"),
    ("docs/lyrics.md", "CODES", "data/sung/codes"),
    ("docs/lyrics.md", "OUT", "aligned"),
    ("docs/sampling.md", "--seconds=60 --num_samples=4", "--seconds=2 --num_samples=1"),
    ("docs/sampling.md", '"deep house" --output=out', '"deep house" --output=long'),
    ("docs/sampling.md", "--seconds=12 --num_samples=16", "--seconds=2 --num_samples=2"),
    ("docs/sampling.md", "--bars=16", "--bars=1"),
    ("docs/sampling.md", "--stems ", ""),  # its weights are downloaded
    ("docs/sampling.md", "--midi --output=out", "--midi --output=takes"),
)
# Page, text of a line, flags at its end.
ADDED = (
    ("", r"jukejax(\.| )train ", "--config.steps=2 --config.eval_batches=1"),
    ("docs/attention.md", r"bench train", "--repeat=1"),
    ("docs/evaluation.md", r"listen --input", "--seconds=1"),
    ("docs/grid.md", r"configs/grid\.py", "--config.data.batch_size=2"),  # of 2 held-out windows
    ("docs/grid.md", r"measure_control\.py", "--loops=1"),
    ("docs/video.md", r"jukejax video", "--height=180"),
)
EXIT_CODES = {"jukejax audit": (0, 3)}  # 3: copied music, which is a result


def shorten(page: str, command: str) -> str:
    """Returns a command as it runs here."""
    for where, text, replacement in SHORTER:
        if where == page:
            command = command.replace(text, replacement)
    lines = command.splitlines()
    for where, pattern, flags in ADDED:
        if where in ("", page):
            lines = [f"{line} {flags}" if re.search(pattern, line) else line for line in lines]
    return "\n".join(lines)


# -- Quick checks ----------------------------------------------------------------------------------


def test_blocks_are_read_in_both_forms():
    text = (
        "a\n\n    jukejax x --y=1 \\\n        --z  # why\n    out/a.wav   a file\n\n    make b\n\n"
    )
    text += "```\ngit c\n```\nd\n    no code\n\n    import jukejax\n    jukejax.load()\n\nend"
    assert read_commands(text) == ["jukejax x --y=1 --z", "make b", "git c"]


def test_a_loop_is_one_command():
    block = "for a in b c; do\n  jukejax train --x=$a\ndone\nmake d"
    assert split_commands(block) == ["for a in b c; do\n  jukejax train --x=$a\ndone", "make d"]


@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_a_block_is_a_command_python_or_a_file(page):
    unknown = [
        command
        for command in read_commands((ROOT / page).read_text("utf-8"))
        if not COMMAND.match(command)
    ]
    assert not unknown


def test_every_entry_of_the_tables_is_in_use():
    commands = {page: read_commands((ROOT / page).read_text("utf-8")) for page in PAGES}
    everywhere = [command for page in PAGES for command in commands[page]]
    assert not [command for command in NOT_RUN if command not in everywhere]
    assert not [row for row in SHORTER if not any(row[1] in c for c in commands[row[0]])]
    for page, pattern, _ in ADDED:
        assert any(re.search(pattern, command) for command in commands.get(page, everywhere))


def test_targets_of_make_that_do_not_run_exist():
    for command in NOT_RUN:
        if command.startswith("make "):
            dry_run = [*command.split(), "--dry-run"]
            subprocess.run(dry_run, cwd=ROOT, check=True, capture_output=True)


# -- The commands ----------------------------------------------------------------------------------


class Project:
    """A folder that looks like a checkout with its environment, some records and other inputs."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> "Project":
        """Creates the folder and its inputs."""
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name, words in (
            ("jukejax", "-c 'from jukejax.cli import main; main()'"),
            ("python", ""),
        ):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (programs / name).chmod(0o755)
        for name in ("configs", "launch"):
            (folder / name).symlink_to(ROOT / name)
        project = cls(folder)
        project.run(
            "python launch/write_records.py --output=home/music/house --tracks=4 --seconds=13"
        )
        records = sorted((folder / "home" / "music" / "house").glob("*.flac"))
        for record in records:
            tags = mutagen.File(record)
            tags["genre"], tags["artist"] = "deep house", "anna"
            tags.save()
        (folder / "home" / "music" / "house" / "metadata.csv").unlink()
        shutil.copy(records[0], folder / "song.flac")
        (folder / "song.txt").write_text("la la la\nna na na\n")
        sound = load_audio(records[0]).samples[: 4 * 44_100]
        for name, gain in (("originals", 1.0), ("decoded", 0.9)):
            (folder / name).mkdir()
            soundfile.write(folder / name / "a.wav", gain * sound, 44_100)
        (folder / "photos").mkdir()
        Image.fromarray(np.full((90, 160, 3), 128, np.uint8)).save(folder / "photos" / "a.png")
        return project

    def copy(self, folder: Path) -> "Project":
        """Copies the project with all that has been made in it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def run(self, command: str) -> None:
        """Runs a command line, and prints how long it took (shown by pytest -s)."""
        started_at = time.monotonic()
        inherited = environment()
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{inherited['PATH']}"
        variables = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder / "home")}
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder,
            env=inherited | variables,
            capture_output=True,
            text=True,
        )
        print(f"{time.monotonic() - started_at:6.1f} s  {command}", flush=True)
        allowed = next((v for k, v in EXIT_CODES.items() if command.startswith(k)), (0,))
        assert done.returncode in allowed, f"{command}\n{done.returncode}\n{done.stderr[-3000:]}"

    def run_page(self, page: str) -> None:
        """Runs the commands of a page, with its block of JSON lines as requests.jsonl."""
        for block in read_blocks((ROOT / page).read_text("utf-8")):
            if is_requests(block):
                (self.folder / "requests.jsonl").write_text(block)
        for command in read_commands((ROOT / page).read_text("utf-8")):
            if command in NOT_RUN:
                continue
            if "--answers=" in command:
                self.answer_listening_test()
            self.run(shorten(page, command))

    def answer_listening_test(self) -> None:
        """Writes the answers of two listeners to the test in blind/."""
        test = json.loads((self.folder / "blind" / "key.json").read_text())
        answers = [{"trial": i, "choice": trial[0]} for i, trial in enumerate(test["trials"])]
        for listener in ("anna", "ben"):
            content = {"test": test["test"], "listener": listener, "answers": answers}
            (self.folder / f"answers_{listener}.json").write_text(json.dumps(content))

    def train_on_lyrics(self) -> None:
        """Runs the commands in the head of the config that docs/lyrics.md refers to."""
        head = ast.get_docstring(ast.parse((ROOT / "configs" / "house_lyrics.py").read_text()))
        for command in read_commands(head):
            command = command.replace("--house_tracks=1500", "--house_tracks=4")
            command = command.replace("--heldout=0.04", "--heldout=0.25")
            few = ":prior --config.data.batch_size=4"  # the held-out track has 5 windows
            self.run(shorten("", command.replace(":prior", few)))
        self.run("jukejax export --workdir=runs/sung/vqvae,runs/sung/prior --output=models/sung")
        self.run(
            "jukejax sample --model=models/sung --levels=0 --seconds=4 --lyrics_file=song.txt "
            "--output=out/sung"
        )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Returns a project without results."""
    return Project.create(tmp_path_factory.mktemp("docs") / "inputs")


@pytest.fixture(scope="module")
def trained(inputs):
    """Returns the project after the commands of README.md."""
    project = inputs.copy(inputs.folder.with_name("trained"))
    project.run_page("README.md")
    return project


@pytest.mark.slow
def test_commands_of_the_readme_run(trained):
    assert (trained.folder / "out" / "item_003" / "level_0.wav").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "README.md"])
def test_commands_of_a_page_run(inputs, request, tmp_path, page):
    commands = read_commands((ROOT / page).read_text("utf-8"))
    if all(command in NOT_RUN for command in commands):
        pytest.skip("nothing runs")
    makes_its_own = page in ("docs/grid.md", "docs/lyrics.md")
    source = inputs if makes_its_own else request.getfixturevalue("trained")
    project = source.copy(tmp_path / "project")
    if page == "docs/lyrics.md":
        project.train_on_lyrics()
    project.run_page(page)
