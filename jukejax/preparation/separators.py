"""Which separator takes the singer out, and where its weights are.

A `Separator` is a few words, so that it goes to other processes and machines; what it needs is
loaded there, at its first use. Nothing here imports JAX before that.
"""

import functools
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jukejax.preparation import repet as separate

METHODS = (*separate.METHODS, "spleeter")
VARIABLE = "JUKEJAX_SPLEETER_WEIGHTS"
FILE = "2stems.safetensors"
CACHED = Path(__file__).resolve().parents[2] / ".cache" / "spleeter" / FILE


@dataclass(frozen=True)
class Separator:
    """Takes the singer out of mixes.

    Attributes:
      method: one of METHODS.
      weights: path of the safetensors, for "spleeter".
      hash: sha256 of that file: another file in its place is refused.
    """

    method: str
    weights: str = ""
    hash: str = ""

    def __call__(self, mix: np.ndarray) -> np.ndarray:
        """The instrumental: float32 [time, channels] at 44.1 kHz to the same, of any length.

        Spleeter is loaded and compiled at its first call in a process.

        Raises:
          ValueError: the weights are not there or not those of `hash`.
        """
        if self.method != "spleeter":
            return separate.separate(mix, self.method)
        from jukejax.preparation import spleeter

        return spleeter.loaded(self.weights, self.hash)(mix)["accompaniment"]

    @property
    def name(self) -> str:
        """What a dataset is said to be separated by."""
        return self.method

    def record(self) -> dict[str, str]:
        """For dataset.json: what made the instrumentals."""
        return {"method": self.method} | ({"weights_sha256": self.hash} if self.hash else {})


def make_separator(method: str | None = None, weights: str | None = None) -> Separator:
    """The separator asked for.

    Args:
      method: one of METHODS; without it "spleeter" if its weights are found, else "none".
      weights: Spleeter's safetensors or the folder that holds it; without it
        $JUKEJAX_SPLEETER_WEIGHTS, else what `make spleeter-weights` wrote in this checkout.

    Raises:
      ValueError: there is no such method, or its weights are missing.
    """
    if method is not None and method not in METHODS:
        raise ValueError(f"--separator={method} is unknown; there are {', '.join(METHODS)}")
    if method in separate.METHODS:
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
    """The file of weights: what is asked for must be there, the cached one may be."""
    told = {"--separator_weights": weights, f"${VARIABLE}": os.environ.get(VARIABLE)}
    for source, value in told.items():
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
    """Whether JAX would take a GPU or TPU here, which only one process should hold.

    Asked in a process of its own, so that this one does not hold it afterwards.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    question = "import jax; print(jax.default_backend())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    return answer.returncode == 0 and answer.stdout.split()[-1:] not in ([], ["cpu"])
