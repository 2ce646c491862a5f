"""A studio whose jobs are a small script, and takes as `sample` leaves them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jukejax.common import files
from jukejax.data import audio
from jukejax.studio import child
from jukejax.studio.studio import Studio

# Counts its starts in OUTPUT/starts, and works until OUTPUT/go exists; SIGTERM saves and ends it.
SCRIPT = """
import os, signal, sys, time
verb, arguments = sys.argv[1], sys.argv[2:]
values = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
output = values["output"]
os.makedirs(output, exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with open(output + "/starts", "a") as file:
    file.write("x")
if values.get("fail"):
    print("jukejax sample: error: " + values["fail"], file=sys.stderr)
    sys.exit(2)
if values.get("code"):
    sys.exit(int(values["code"]))
while values.get("waits") and not os.path.exists(output + "/go"):
    time.sleep(0.01)
open(output + "/done", "w").close()
"""


def use_script(monkeypatch, folder: Path) -> None:
    """Makes all jobs run SCRIPT."""
    script = folder / "script.py"
    script.write_text(SCRIPT)

    def format_command(verb, arguments):
        return [sys.executable, str(script), verb, *arguments]

    monkeypatch.setattr(child, "format_command", format_command)


def write_take(
    studio: Studio, slug: str, take: str, *, bars: int = 4, levels=(2,), unit: int = 128
) -> Path:
    """Writes the folder of a take as `sample` does, at 120 BPM; returns that of its item."""
    item = studio.open_project(slug).take_folder(take) / "item_000"
    item.mkdir(parents=True, exist_ok=True)
    samples = bars * 88_200
    codes = -(-samples // 128)
    random = np.random.default_rng(0)
    arrays, gain = {}, {}
    for level in levels:
        count = codes * 4 ** (2 - level)
        arrays[f"level_{level}"] = random.integers(0, 2048, count).astype(np.uint16)
        sound = 0.3 * np.sin(np.arange(samples) / 20).astype(np.float32)
        gain[f"level_{level}"] = audio.write_wav(item / f"level_{level}.wav", sound)
    files.write_arrays(item / "codes.npz", arrays)
    meta = {
        "seconds": round(codes * 128 / 44_100, 6),
        "sample_rate": 44_100,
        "hops": [8, 32, 128],
        "unit": unit,
        "grid": {"bpm": 120.0, "first_downbeat": 0.0, "key": "A minor"},
        "gain": gain,
        "prompt_seconds": 0.0,
    }
    (item / "meta.json").write_text(json.dumps(meta))
    return item


def refuse(action, *arguments, match=None, **keywords):
    """Checks that an action is refused by one short line without a path of ours."""
    with pytest.raises(ValueError, match=match) as refusal:
        action(*arguments, **keywords)
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "Traceback" not in message
