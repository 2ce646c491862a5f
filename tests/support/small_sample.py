"""`sample` in the process of a test, on the bundle of small_bundle.py."""

import json
import time
from pathlib import Path

from jukejax.inference.loaded_model import Model
from jukejax.pages.runs import MEASURED
from jukejax.sampling.folder import Codes, SampleFolder, read_codes
from jukejax.sampling.request import Request
from jukejax.sampling.run import Run
from jukejax.sampling.start import begin

TOP = 150  # codes of the top level: two windows and a half
SECONDS = TOP * 128 / 44100
EACH = {2: 0.9, 1: 0.95, 0: 1.0}


def ask(**more) -> Request:
    """A request for a track of `SECONDS`."""
    plain = {"temperature": EACH, "hop_fraction": dict.fromkeys(EACH, 0.5), "seconds": SECONDS}
    return Request(**plain | more)


def make(model: Model, output: Path, **more) -> list[Codes]:
    """Makes the tracks of a request; returns the codes of each item."""
    asked = ask(**more)
    start = begin(model, asked)
    output.mkdir(exist_ok=True)
    folder = SampleFolder(output, asked.items)
    Run(model, asked, start, folder, time.monotonic())()
    return [read_codes(item / "codes.npz") for item in folder.items]


def contents(folder: Path) -> dict[str, bytes]:
    """{name: bytes}; meta.json without what the clock said."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "meta.json":
            meta = json.loads(path.read_text())
            for name in MEASURED:
                assert meta.pop(name) is not None or name == "seconds_to_first_audio"
            found[str(path.relative_to(folder))] = json.dumps(meta).encode()
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found
