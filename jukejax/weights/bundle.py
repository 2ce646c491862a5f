"""Model bundles: folders with safetensors and frozen configs, and nothing executable.

BUNDLE/model.json             levels, hops, label vocabulary, versions, license of the weights
BUNDLE/vqvae/                 config.json, weights.safetensors
BUNDLE/level_2/ ... level_0/  the same for each prior; a level may be missing
"""

import hashlib
import importlib.metadata
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.common.formatting import format_count
from jukejax.common.types import Tree
from jukejax.weights.recommended_settings import check_recommendation

FORMAT = 1
_BLOCK = 1 << 22  # bytes of a file that are hashed at once
_MAX_LEVELS = 16


@dataclass(frozen=True)
class BundleFacts:
    """The fields of model.json that are read; others are for information.

    Attributes:
      vqvae: identity of the VQ-VAE, see `codec_identity`.
      sampling: settings that the model recommends, see `recommended_settings`.
    """

    format: int
    sample_rate: int
    hops: tuple[int, ...]
    levels: tuple[int, ...]
    vocabulary: dict[str, Any]
    license: str
    provenance: tuple[str, ...]
    vqvae: dict[str, Any] | None = None
    sampling: dict[str, Any] | None = None


def flatten_weights(tree: Tree) -> dict[str, np.ndarray]:
    """Converts nested dictionaries to {"a/b/c": array}, the arrays in C order."""
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {name: np.asarray(value, order="C") for name, value in flat.items()}


def unflatten_weights(flat: Mapping[str, np.ndarray]) -> Tree:
    """Inverts `flatten_weights`."""
    return traverse_util.unflatten_dict(flat, sep="/")


def hash_weights(weights: Tree) -> str:
    """Returns the sha256 of all arrays, by which code shards identify their VQ-VAE."""
    digest = hashlib.sha256()
    for name, value in sorted(flatten_weights(weights).items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_part(folder: str | os.PathLike, description: dict, weights: Tree) -> None:
    """Writes one model of a bundle; each file is written atomically."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "weights.safetensors") as temporary:
        save_file(flatten_weights(weights), temporary)
    files.write_json(folder / "config.json", description)


def compact_codebooks(extra: Tree, dtype: np.dtype) -> Tree:
    """Returns codebooks in the form of a small bundle: vectors in `dtype`, no moving sums."""
    return {
        name: {key: value for key, value in book.items() if key != "codebook_sum"}
        | {"codebook": np.asarray(book["codebook"]).astype(dtype)}
        for name, book in extra.items()
    }


def expand_codebooks(extra: Tree) -> Tree:
    """Inverts `compact_codebooks`, up to rounding: the sums are those of the vectors' counts."""
    books = {}
    for name, book in extra.items():
        vectors = np.asarray(book["codebook"]).astype(np.float32)
        sums = vectors * np.asarray(book["codebook_count"])[:, None]
        books[name] = {"codebook_sum": sums, **book, "codebook": vectors}
    return books


def load_part(folder: str | os.PathLike) -> tuple[dict, Tree]:
    """Reads one model of a bundle; returns (description, weights).

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
        return description, unflatten_weights(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error


def save_bundle(folder: str | os.PathLike, description: dict) -> None:
    """Writes model.json, which marks the bundle as complete and must be written last."""
    versions = {
        name: importlib.metadata.version(name) for name in ("jukejax", "jax", "flax", "safetensors")
    }
    content = {"format": FORMAT, **description, "versions": versions}
    files.write_json(Path(folder) / "model.json", content)


def is_bundle(folder: str | os.PathLike) -> bool:
    """Returns true if a folder is a complete bundle."""
    return (Path(folder) / "model.json").exists()


def open_bundle(folder: str | os.PathLike) -> dict:
    """Reads model.json.

    Raises:
      ValueError: the folder is no bundle, has an unsupported format, or a field is wrong.
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
    _check_facts(freeze(BundleFacts, description, str(path), ignore_unknown=True), path)
    return description


def _check_facts(facts: BundleFacts, path: Path) -> None:
    if facts.sample_rate < 1:
        raise ValueError(f"{path}.sample_rate is {facts.sample_rate}, must be positive")
    if not 1 <= len(facts.hops) <= _MAX_LEVELS or min(facts.hops) < 1:
        raise ValueError(f"{path}.hops is {list(facts.hops)}, not the samples of a code by level")
    if facts.sampling is not None:
        check_recommendation(facts.sampling, f"{path}.sampling")
    for level in facts.levels:
        if level not in range(len(facts.hops)):
            number = format_count(len(facts.hops), "level")
            raise ValueError(f"{path}.levels has {level}, and the bundle has {number}")
    for finer, coarser in itertools.pairwise(facts.hops):
        if coarser % finer:
            raise ValueError(f"{path}.hops has {coarser}, no multiple of {finer}")


def hash_bundle(folder: str | os.PathLike) -> str:
    """Returns the sha256 of the weight files of a bundle or of a part, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("weights.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
