"""Separators, which remove vocals from mixes, and the paths of their weights.

A `Separator` is small, so that it can be sent to other processes and machines; the weights are
loaded by its first call. This module does not import JAX before that call.
"""

import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.data.audio import Samples, iterate_blocks
from jukejax.preparation import repet

METHODS = ("none", "repet", "spleeter")
VARIABLE = "JUKEJAX_SPLEETER_WEIGHTS"
FILE = "2stems.safetensors"
CACHED = files.REPOSITORY / ".cache" / "spleeter" / FILE


@dataclass(frozen=True)
class Separator:
    """Removes vocals from mixes.

    Attributes:
      method: one of METHODS.
      weights: path of the safetensors, for "spleeter".
      hash: sha256 of that file, which is checked when the file is loaded.
    """

    method: str
    weights: str = ""
    hash: str = ""

    def separate(self, mix: Samples) -> Iterator[np.ndarray]:
        """Yields the instrumental of a mix of any length in blocks.

        Spleeter is loaded and compiled at its first call in a process.

        Args:
          mix: float32 [time, channels] at 44.1 kHz.

        Yields:
          float32 [time, channels], as many samples in all.

        Raises:
          ValueError: the weights are missing or not those of `hash`; or the method is unknown.
        """
        if self.method == "none":
            yield from iterate_blocks(mix)
        elif self.method == "repet":
            yield from repet.remove_vocals(mix)
        elif self.method == "spleeter":
            from jukejax.preparation import spleeter

            for stems in spleeter.load_spleeter(self.weights, self.hash).separate(mix):
                yield stems["accompaniment"]
        else:
            raise ValueError(f"no separator {self.method!r}; there are {', '.join(METHODS)}")

    @property
    def name(self) -> str:
        """Returns the name of the separator in dataset.json."""
        return self.method

    def record(self) -> dict[str, str]:
        """Returns the description of the separator for dataset.json."""
        return {"method": self.method} | ({"weights_sha256": self.hash} if self.hash else {})


def make_separator(method: str | None = None, weights: str | None = None) -> Separator:
    """Returns the separator for the values of the flags.

    Args:
      method: one of METHODS; None: "spleeter" if its weights are found, else "none".
      weights: Spleeter's safetensors or the folder that holds it; None:
        $JUKEJAX_SPLEETER_WEIGHTS, else the output of `make spleeter-weights` in this checkout.

    Raises:
      ValueError: there is no such method, or its weights are missing.
    """
    if method is not None and method not in METHODS:
        raise ValueError(f"--separator={method} is unknown; there are {', '.join(METHODS)}")
    if method in ("none", "repet"):
        if weights:
            raise ValueError(
                f"--separator_weights={weights} is for --separator=spleeter, not for {method}"
            )
        return Separator(method)
    path = find_weights(weights)
    if path is None and method is None:
        return Separator("none")
    if path is None:
        raise ValueError(
            "--separator=spleeter needs Deezer's weights: run `make spleeter-weights`, or give "
            "--separator_weights with what convert --from=spleeter wrote"
        )
    with open(path, "rb") as file:
        return Separator("spleeter", str(path), hashlib.file_digest(file, "sha256").hexdigest())


def find_weights(weights: str | None = None) -> Path | None:
    """Finds the weights by `weights`, the environment variable, or in the checkout.

    Returns:
      None without any of the three.

    Raises:
      ValueError: the file of `weights` or of the environment variable does not exist.
    """
    candidates = {"--separator_weights": weights, f"${VARIABLE}": os.environ.get(VARIABLE)}
    for source, value in candidates.items():
        if value:
            path = Path(value) / FILE if Path(value).is_dir() else Path(value)
            if not path.is_file():
                raise ValueError(
                    f"{source}={value}: there is no {path.name}; make it with "
                    "`make spleeter-weights` or convert --from=spleeter"
                )
            return path.resolve()
    return CACHED if CACHED.is_file() else None


@functools.cache
def uses_accelerator() -> bool:
    """Returns true if JAX would use a GPU or TPU, which only one process should hold.

    Runs JAX in another process, so that this process does not hold the device afterwards.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    program = "import jax; print(jax.default_backend())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return result.returncode == 0 and result.stdout.split()[-1:] not in ([], ["cpu"])
