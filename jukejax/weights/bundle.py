"""Model bundles: folders of safetensors with the frozen config beside them, and nothing executable.

BUNDLE/model.json             levels, hops, label vocabulary, versions, licence of the weights
BUNDLE/vqvae/                 config.json, weights.safetensors
BUNDLE/level_2/ ... level_0/  the same for each prior; a level may be missing
"""

import hashlib
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import numpy as np

from jukejax.common import files

Tree = dict[str, Any]
FORMAT = 1


def flatten(tree: Tree, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dictionaries to {"a/b/c": array}."""
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, name + "/")
        else:
            flat[name] = np.asarray(value, order="C")
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> Tree:
    """The inverse of `flatten`."""
    tree: Tree = {}
    for name, value in flat.items():
        node = tree
        *path, leaf = name.split("/")
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = value
    return tree


def save_part(folder: str | os.PathLike, description: dict, weights: Tree) -> None:
    """Writes one model of a bundle; it appears whole or not at all."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "weights.safetensors") as temporary:
        save_file(flatten(weights), temporary)
    files.write_json(folder / "config.json", description)


def load_part(folder: str | os.PathLike) -> tuple[dict, Tree]:
    """(description, weights) of one model.

    Raises:
      ValueError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    description = files.read_json(folder / "config.json")
    path = folder / "weights.safetensors"
    if not path.exists():
        raise ValueError(f"{path} is missing; export the model again")
    try:
        return description, unflatten(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error


def save_bundle(folder: str | os.PathLike, description: dict) -> None:
    """Writes model.json, last: it says that the bundle is complete."""
    versions = {
        name: importlib.metadata.version(name) for name in ("jukejax", "jax", "flax", "safetensors")
    }
    content = {"format": FORMAT, **description, "versions": versions}
    files.write_json(Path(folder) / "model.json", content)


def open_bundle(folder: str | os.PathLike) -> dict:
    """What model.json says.

    Raises:
      ValueError: the folder is no bundle, or of another format.
    """
    path = Path(folder) / "model.json"
    if not path.exists():
        raise ValueError(
            f"{folder} is no model bundle (it has no model.json); make one with export"
        )
    description = files.read_json(path)
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of format {description.get('format')}, we read format {FORMAT}"
        )
    return description


def weights_hash(folder: str | os.PathLike) -> str:
    """Sha256 over every weight file of a bundle or of one of its parts, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("weights.safetensors")):
        digest.update(str(path.relative_to(folder)).encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
