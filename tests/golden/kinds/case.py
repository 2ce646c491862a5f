"""A golden case: what OpenAI's code was given and what it computed, read from one file."""

import json
from pathlib import Path

import numpy as np


class Case:
    """One `.npz`: `case.hps`, `case["in/x"]`, `case.group("param/")`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with np.load(path) as file:
            self._arrays = {name: file[name] for name in file.files}
        self.hps = self.json("hparams")

    def json(self, name: str):
        return json.loads(self._arrays[name].tobytes().decode())

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def get(self, name: str) -> np.ndarray | None:
        return self._arrays.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays under `prefix`, without it."""
        return {k[len(prefix) :]: v for k, v in self._arrays.items() if k.startswith(prefix)}


def assert_close(ours, theirs, *, rtol: float, name: str = "") -> None:
    """Largest difference relative to the largest value: float32 sums err at the array's scale."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{name}: shape {ours.shape}, golden {theirs.shape}"
    if not ours.size:
        return
    scale = max(np.abs(theirs).max(), 1e-6)
    error = np.abs(ours - theirs).max() / scale
    assert error <= rtol, f"{name}: off by {error:.2e} of {scale:.3g}, allowed {rtol:.0e}"
