"""Compares the estimated tempo of LMMS projects with the tempo in the project file.

    apt-get install lmms lmms-common
    .venv/bin/python launch/measure_tempo.py RENDERED /usr/share/lmms/projects/demos [FOLDER ...]

RENDERED gets the sound of each project in FOLDER that it lacks. The table is printed in Markdown.
"""

import argparse
import os
import subprocess
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jukejax.analysis.tempo_grid import GridEstimate, estimate_grid
from jukejax.data import audio

LONGEST = 1800  # seconds of rendering
TOLERANCE = 0.5  # percent, up to octaves
HEADER = 4  # bytes before the zlib stream of an .mmpz file: its length


def read_tempo(project: Path) -> float:
    """Reads the tempo of a project in BPM.

    Raises:
      ValueError: the tempo is automated.
    """
    text = project.read_bytes()
    root = ElementTree.fromstring(
        zlib.decompress(text[HEADER:]) if project.suffix == ".mmpz" else text
    )
    head = root.find("head")
    assert head is not None
    written, model = head.get("bpm"), head.find("bpm")  # a model if a controller is attached
    if model is not None:
        written = model.get("value")
        automated = {target.get("id") for target in root.iterfind(".//automationpattern/object")}
        if model.get("id") in automated:
            raise ValueError(f"{project}: the tempo is automated")
    return float(written or 0)


def render_project(project: Path, output: Path) -> None:
    """Renders a project to WAV at 44.1 kHz; LMMS may not end, which is an error."""
    command = ["lmms", "--allowroot", "render", str(project), "-f", "wav", "-s", "44100"]
    partial = output.with_name(f"{output.stem}-part.wav")
    subprocess.run(
        [*command, "-x", "1", "-o", str(partial)],
        check=True,
        timeout=LONGEST,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial.replace(output)


def compare_tempi(estimate: float, written: float) -> tuple[float, int]:
    """Returns the error in percent up to octaves, and the octaves."""
    octaves = round(np.log2(estimate / written))
    return 100 * (estimate / written / 2.0**octaves - 1), octaves


def format_row(name: str, seconds: float, written: float, estimate: GridEstimate) -> str:
    """Formats a row of the table."""
    tempo = error = "none"
    if estimate.bpm is not None:
        percent, octaves = compare_tempi(estimate.bpm, written)
        tempo = f"{estimate.bpm:.3f}"
        error = f"{percent:+.3f} %" + {-1: " (half)", 1: " (double)"}.get(octaves, "")
    confidence = f"{estimate.bpm_confidence:.2f}"
    return f"| {name} | {seconds:.0f} | {written:g} | {tempo} | {error} | {confidence} |"


def main() -> None:
    """Renders the projects, estimates their tempi and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rendered", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.rendered.mkdir(parents=True, exist_ok=True)
    print("| project | seconds | tempo in the file | estimate | error | confidence |")
    print("|---|---|---|---|---|---|")
    projects = [path for folder in arguments.folders for path in sorted(folder.rglob("*.mmp*"))]
    hits = 0
    for project in projects:
        written = read_tempo(project)
        rendered = arguments.rendered / f"{project.stem}.wav"
        if not rendered.exists():
            render_project(project, rendered)
        mono = audio.load_audio(rendered).samples.mean(axis=1)
        estimate = estimate_grid(mono, audio.SAMPLE_RATE)
        if estimate.bpm is not None:
            hits += abs(compare_tempi(estimate.bpm, written)[0]) <= TOLERANCE
        print(format_row(project.stem, len(mono) / audio.SAMPLE_RATE, written, estimate))
    print(f"\nwithin {TOLERANCE} % up to octaves: {hits} of {len(projects)}")


if __name__ == "__main__":
    main()
