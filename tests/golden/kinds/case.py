"""A golden case: the inputs and results of OpenAI's code, read from one file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Names that describe how a file was generated, without effect on its results.
DESCRIPTIVE = {"kind", "seed"}


class Settings(Mapping):
    """Hyper-parameters of a file, which record the ones that are read.

    Dictionaries and lists of dictionaries in them are settings too. To ask whether a name is there
    does not count as reading it.
    """

    def __init__(self, values: dict[str, Any]):
        self._values = {name: _wrap(value) for name, value in values.items()}
        self._read: set[str] = set()
        self._ignored = set(DESCRIPTIVE)

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self._read.add(name)
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def ignore(self, *names: str) -> None:
        """Accepts names that have no effect on the results, with all that they contain."""
        self._ignored.update(names)

    def find_unread(self, prefix: str = "") -> list[str]:
        """Lists the names that were not read, with the path to them."""
        unread = []
        for name, value in self._values.items():
            if name in self._ignored:
                continue
            if name not in self._read:
                unread.append(prefix + name)
                continue
            parts = value if isinstance(value, list) else [value]
            for index, part in enumerate(parts):
                if isinstance(part, Settings):
                    number = f"[{index}]" if isinstance(value, list) else ""
                    unread += part.find_unread(f"{prefix}{name}{number}.")
        return unread


def _wrap(value: Any) -> Any:
    """Turns dictionaries, also those in a list, into settings."""
    if isinstance(value, dict):
        return Settings(value)
    return [_wrap(item) for item in value] if isinstance(value, list) else value


class Case:
    """One `.npz`: `case.hps`, `case["in/x"]`, `case.group("param/")`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with np.load(path) as file:
            self._arrays = {name: file[name] for name in file.files}
        self.hps = Settings(self.json("hparams"))

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

    def check_all_read(self) -> None:
        """Fails on a hyper-parameter that no check has read: its effect would be untested."""
        unread = self.hps.find_unread()
        assert not unread, f"{self.path.name}: hyper-parameters not read: {', '.join(unread)}"


def assert_close(ours, theirs, *, rtol: float, name: str = "") -> None:
    """Largest difference relative to the largest value: float32 sums err at the array's scale."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{name}: shape {ours.shape}, golden {theirs.shape}"
    if not ours.size:
        return
    scale = max(np.abs(theirs).max(), 1e-6)
    error = np.abs(ours - theirs).max() / scale
    assert error <= rtol, f"{name}: off by {error:.2e} of {scale:.3g}, allowed {rtol:.0e}"
