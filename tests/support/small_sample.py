"""Sampling in the process of a test, with the bundle of small_bundle.py."""

import json
import time
from pathlib import Path

from jukejax.data.codes_file import read_codes_file
from jukejax.data.sample_items import MEASURED
from jukejax.inference.loaded_model import Model
from jukejax.sampling.folder import Codes, SampleFolder
from jukejax.sampling.initial_state import read_initial_state
from jukejax.sampling.job import SampleJob
from jukejax.sampling.plan import TrackPlan
from jukejax.sampling.request import Request
from jukejax.sampling.run import run_jobs
from jukejax.sampling.takes import TakeSettings

TOP = 150  # codes of the top level: two windows and a half
SECONDS = TOP * 128 / 44100
EACH = {2: 0.9, 1: 0.95, 0: 1.0}


def make_request(**values) -> Request:
    """Returns a request for a track of `SECONDS`."""
    defaults = {"temperature": EACH, "hop_fraction": dict.fromkeys(EACH, 0.5), "seconds": SECONDS}
    return Request(**defaults | values)


def sample(model: Model, output: Path, takes: TakeSettings | None = None, **values) -> list[Codes]:
    """Samples the tracks of a request; returns the codes of each item."""
    request = make_request(**values)
    initial_state = read_initial_state(model, request)
    output.mkdir(exist_ok=True)
    folder = SampleFolder(output, request.items)
    plans = [TrackPlan(request, initial_state, item) for item in request.items]
    run_jobs(model, output, [SampleJob(model, plans, folder, time.monotonic())], takes)
    return [read_codes_file(item / "codes.npz") for item in folder.items]


def read_files(folder: Path) -> dict[str, bytes]:
    """Reads the files of an output folder; of meta.json all but the measurements."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "meta.json":
            meta = json.loads(path.read_text())
            for name in MEASURED:
                assert meta.pop(name) is not None or name == "seconds_to_first_audio"
            contents[str(path.relative_to(folder))] = json.dumps(meta).encode()
        elif path.is_file():
            contents[str(path.relative_to(folder))] = path.read_bytes()
    return contents
