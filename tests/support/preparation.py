"""Runs of `prepare` for tests, and music for them."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from jukejax.data import corpus
from jukejax.preparation import local_runner
from jukejax.preparation.job import Job
from jukejax.preparation.prepared_track import PreparedTrack, Source
from tests.support.command import ROOT, run_in_process

RATE = 44100


def music(seconds: float = 6.0, seed: int = 0, rate: int = RATE, channels: int = 2) -> np.ndarray:
    """Returns a tone of its own for each channel, float32 [time, channels]."""
    random = np.random.RandomState(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = [
        np.sin(2 * np.pi * (110 * (1 + c) + random.rand() * 300) * time) for c in range(channels)
    ]
    return 0.4 * np.stack(tones, axis=1).astype(np.float32)


def prepare(*flags: str, code: int = 0) -> tuple[str, str]:
    """Calls `prepare` in this process, without worker processes; returns stdout and stderr.

    Without a separator unless the flags name one.
    """
    with mock.patch.object(local_runner, "prepare_locally", prepare_serially):
        done = run_in_process("prepare", "--separator=none", *flags, code=code)
    return done.stdout, done.stderr


def prepare_serially(
    sources: Sequence[Source], job: Job, *, workers: int, progress: Callable[[int, str], None]
) -> list[PreparedTrack]:
    """Replaces `local_runner.prepare_locally` where a test is not about processes."""
    del workers
    results = []
    for done, source in enumerate(sources, start=1):
        results.append(job(source))
        progress(done, results[-1].name if not results[-1].reason else "")
    return results


def prepare_in_new_process(
    *flags: str, code: int = 0, warnings: str = "error", env: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Runs `prepare` as users do, and returns stdout and stderr; see `prepare`."""
    command = [sys.executable, "-W", warnings, "-m", "jukejax.prepare", "--separator=none"]
    done = subprocess.run(
        [*command, *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=240,
        env=env,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the files of a dataset."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def find_track(folder: Path, name: str) -> tuple[corpus.Track, np.ndarray]:
    """Returns a track of a dataset and its audio, float32 [time, channels]."""
    dataset = corpus.open_dataset(folder)
    for split in corpus.SPLITS:
        for i, track in enumerate(dataset.tracks(split)):
            if track.name == name:
                return track, dataset.read_track(split, i)
    raise KeyError(name)


def read_notes(folder: Path, name: str) -> list[str]:
    """Returns the notes of a file in the corpus.json of a dataset."""
    rows = json.loads((folder / "corpus.json").read_text())["files"]
    return next(row["notes"] for row in rows if row["file"] == name)
