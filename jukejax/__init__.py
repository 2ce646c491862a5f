"""OpenAI's Jukebox in JAX: train music models, and make music with them.

`load` is the Python API; the commands are in modules of their own. Importing the package imports
nothing else.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from jukejax.api import Jukebox

__version__ = "0.1.0"


def load(
    folder: "str | Path" = "house",
    *,
    dtype: str | None = None,
    weights: str = "float",
    tensor: int = 0,
) -> "Jukebox":
    """Loads a model for Python (docs/python.md).

    >>> model = load("house")
    >>> model.sample_rate, model.hops, model.levels
    (44100, (8, 32, 128), (2, 1, 0))
    >>> model.genres[:3]
    ['unknown', 'deep house', 'disco house']
    >>> load("runs/nothing")
    Traceback (most recent call last):
    ValueError: runs/nothing is not a folder; give a bundle, a workdir of train, or house for ...

    Args:
      folder: a bundle of `export` or `convert`; a workdir of `train` with a VQ-VAE, which can
        encode and decode; or "house", the shipped model.
      dtype: "float32", "bfloat16" or "float16"; None: bfloat16 on GPU and TPU, float16 on
        GPUs that lack it, float32 on CPU.
      weights: "int8" keeps the matrices of the priors in eight bits: half the memory of bfloat16.
      tensor: devices of this host that share the weights of a prior; 0: as few as hold them.

    Raises:
      ValueError: there is no usable model, or fewer than `tensor` devices.
    """
    from jukejax.api import Jukebox

    return Jukebox(folder, dtype, weights, tensor)
