"""musicnn's released weights, read from its wheel on PyPI without TensorFlow.

ISC license, Music Technology Group, Universitat Pompeu Fabra. The user downloads the wheel; its
content is neither shipped nor stored. The model is "MSD_musicnn", trained on the Million Song
Dataset, the only one with a tag for house.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jukejax.models.musicnn import FEATURES, TAGS, Weights
from jukejax.weights import tf_bundle

FOLDER = "musicnn/MSD_musicnn/"
DATA_SHA256 = "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6"
GET = "get it with: pip download --no-deps musicnn==0.1.0"
SHAPES = {
    "dense/kernel": (1506, FEATURES),
    "dense/bias": (FEATURES,),
    "dense_1/kernel": (FEATURES, TAGS),
    "dense_1/bias": (TAGS,),
    **{
        f"conv2d{number}/{part}": shape
        for number, kernel in {
            "": (7, 38, 1, 204),
            "_1": (7, 67, 1, 204),
            "_2": (128, 1, 1, 51),
            "_3": (64, 1, 1, 51),
            "_4": (32, 1, 1, 51),
            "_5": (7, 561, 1, 64),
            "_6": (7, 64, 1, 64),
            "_7": (7, 64, 1, 64),
        }.items()
        for part, shape in (("kernel", kernel), ("bias", kernel[-1:]))
    },
    **{
        f"batch_normalization{number}/{part}": (width,)
        for number, width in zip(
            ("", *(f"_{i}" for i in range(1, 11))),
            (1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, FEATURES),
            strict=True,
        )
        for part in ("beta", "gamma", "moving_mean", "moving_variance")
    },
}


def load_musicnn_weights(wheel: str | os.PathLike) -> Weights:
    """Loads the weights, by TensorFlow's names.

    Raises:
      ValueError: the file is not the wheel of musicnn 0.1.0.
    """
    path = Path(wheel)
    try:
        with zipfile.ZipFile(path) as opened:
            index = opened.read(f"{FOLDER}.index")
            data = opened.read(f"{FOLDER}.data-00000-of-00001")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"--musicnn={path} is not the wheel of musicnn 0.1.0; {GET}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != DATA_SHA256:
        raise ValueError(
            f"--musicnn={path} holds other weights than musicnn 0.1.0: sha256 {digest}, expected "
            f"{DATA_SHA256}; {GET}"
        )
    return select_weights(tf_bundle.read_tensors(index, data))


def select_weights(tensors: dict[str, np.ndarray]) -> Weights:
    """Selects the tensors of the forward pass from those of a checkpoint.

    Raises:
      ValueError: a tensor is missing or has another shape.
    """
    for name, shape in SHAPES.items():
        if name not in tensors or tensors[name].shape != shape:
            actual = tensors[name].shape if name in tensors else "missing"
            raise ValueError(f"musicnn's {name} is {actual}, expected {shape}; {GET}")
    return {name: jnp.asarray(tensors[name]) for name in SHAPES}
