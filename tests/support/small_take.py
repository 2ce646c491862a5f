"""A generated track without a model: kicks on its grid, random codes, and files as of sample."""

import json
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.data import audio

SECONDS, BPM, DOWNBEAT = 2.01, 150.0, 0.13  # a beat is 0.4 s, a bar 1.6 s
RATE, HOPS = 44_100, (8, 32, 128)


def make_kicks(seconds: float = SECONDS) -> np.ndarray:
    """Returns a bass drum on every beat of the grid and soft noise, float32 [time, 1]."""
    time = np.arange(round(seconds * RATE)) / RATE
    since = (time - DOWNBEAT) % (60 / BPM)
    kick = np.exp(-since / 0.06) * np.sin(2 * np.pi * 60 * since) * (time >= DOWNBEAT)
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.7 * kick + noise).astype(np.float32)[:, None]


def write_item(output: Path, *, levels: tuple[int, ...] = (0, 1, 2), **meta: object) -> Path:
    """Writes a sample folder with one item, and returns the folder of the item."""
    item, sound = output / "item_000", make_kicks()
    item.mkdir(parents=True)
    rng = np.random.default_rng(1)
    codes = {f"level_{k}": rng.integers(0, 64, len(sound) // HOPS[k]) for k in levels}
    files.write_arrays(item / "codes.npz", {k: v.astype(np.uint16) for k, v in codes.items()})
    audio.write_wav(item / "level_0.wav", sound)
    grid = {"bpm": BPM, "first_downbeat": DOWNBEAT * RATE, "key": "A minor"}
    values = {"sample_rate": RATE, "hops": HOPS, "seed": 7, "grid": grid, "model": "0" * 64}
    (item / "meta.json").write_text(json.dumps(values | meta))
    return item
