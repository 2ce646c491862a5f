"""Samples tracks at ten tempi and five keys, and measures how far a model follows them.

    .venv/bin/python launch/measure_control.py MODEL OUTPUT [--guidance=3]              # sketches
    .venv/bin/python launch/measure_control.py MODEL OUTPUT --levels=2,1,0 --guidance=2,1,1 \
        --flags="--temperature=1,0.9,0.9 --schedule=parallel"
    .venv/bin/python launch/measure_control.py MODEL OUTPUT --loops=20

OUTPUT gets OUTPUT/tracks (an input of evaluate) and OUTPUT/report. A run that was killed continues.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from jukejax import evaluate, sample

TEMPI = (112.0, 114.5, 117.0, 119.5, 122.0, 124.0, 126.5, 129.0, 131.5, 134.0)
KEYS = ("A minor", "C minor", "D# minor", "F minor", "G minor")  # the corpus is in minor keys
SECONDS, BARS = 12, 4


def run_command(start: Callable[[list[str]], None], *argv: str) -> None:
    """Runs a command in this process; ends it if the command fails."""
    try:
        start([start.__module__, *argv])
    except SystemExit as end:
        if end.code:
            raise


def main() -> None:
    """Samples, collects and evaluates the tracks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("output", type=Path)
    parser.add_argument("--guidance", default="1")
    parser.add_argument("--levels", default="2")
    parser.add_argument("--flags", default="", help="more flags of sample")
    parser.add_argument("--loops", type=int, default=0, help="loops instead of the 50 tracks")
    arguments = parser.parse_args()
    tracks = arguments.output / "tracks"
    combinations = [(bpm, key) for bpm in TEMPI for key in KEYS]
    length = [f"--seconds={SECONDS}"]
    if arguments.loops:
        step = len(combinations) // arguments.loops
        combinations = combinations[:: max(step, 1)][: arguments.loops]
        length = [f"--bars={BARS}", "--loop"]
    for number, (bpm, key) in enumerate(combinations):
        target = tracks / f"item_{number:03d}"
        if target.exists():
            continue
        folder = arguments.output / f"sample_{number:03d}"
        run_command(
            sample.start,
            f"--model={arguments.model}",
            f"--output={folder}",
            f"--bpm={bpm}",
            f"--key={key}",
            *length,
            f"--guidance={arguments.guidance}",
            f"--seed={number}",
            f"--levels={arguments.levels}",
            *arguments.flags.split(),
        )
        tracks.mkdir(exist_ok=True)
        shutil.move(folder / "item_000", target)
        shutil.rmtree(folder)
    run_command(evaluate.start, f"--input={tracks}", f"--output={arguments.output / 'report'}")


if __name__ == "__main__":
    main()
