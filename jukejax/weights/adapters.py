"""Adapters of a model (`models.lora`) on disk: the record of their base, and the merge with it.

A part of a bundle, or a run of `train`, that holds adapters only has in its description
"lora": {"config", "path", "hash"}; its weights are the trained ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jukejax.common.config import freeze, to_plain
from jukejax.common.types import Tree
from jukejax.models import lora
from jukejax.models.lora import LoraConfig
from jukejax.weights import bundle
from jukejax.weights.headers import TensorEntry
from jukejax.weights.shipped import FOLDER, HOUSE, resolve_model

RECORD = "lora"  # key of a description


@dataclass(frozen=True)
class AdaptersRecord:
    """The record of adapters in a description.

    Attributes:
      config: of the adapters.
      path: the base, a bundle or a workdir; or the name of the shipped model.
      hash: of the base's parameters, see `hash_base`.
    """

    config: LoraConfig
    path: str
    hash: str


def describe_adapters(config: LoraConfig, path: str, base: Tree) -> dict[str, Any]:
    """Returns the record of adapters for a description.

    Args:
      path: of the base.
      base: its parameters, as loaded.
    """
    name = HOUSE if Path(path).resolve() == FOLDER else str(Path(path).absolute())
    return {RECORD: {"config": to_plain(config), "path": name, "hash": hash_base(base)}}


def read_record(description: Mapping[str, Any], where: str | Path) -> AdaptersRecord | None:
    """Returns the record in a description; None for a model that is no adapters.

    Raises:
      ValueError: it is damaged.
    """
    if RECORD not in description:
        return None
    return freeze(AdaptersRecord, description[RECORD], f"{where}.{RECORD}")


def hash_base(params: Tree) -> str:
    """Returns the hash of a base's parameters, as loaded."""
    return bundle.hash_weights({"params": params})


def find_base(record: AdaptersRecord, folder: Path) -> str:
    """Returns the folder of the base: the recorded one, or one of its name beside the adapters.

    Args:
      folder: of the adapters: a workdir, a bundle or a part of one.

    Raises:
      ValueError: there is none.
    """
    path = resolve_model(record.path)
    beside = [parent / Path(record.path).name for parent in (folder.parent, folder.parent.parent)]
    for candidate in (path, *map(str, beside)):
        if Path(candidate).is_dir():
            return candidate
    raise ValueError(
        f"{folder} holds adapters of {record.path}, which is not there; put that model there, or "
        "beside the adapters under its name"
    )


def check_base(record: AdaptersRecord, params: Tree, path: str, folder: str | Path) -> None:
    """Checks that a model is the base of adapters.

    Args:
      params: of the model at `path`, as loaded.
      folder: of the adapters, for the message.

    Raises:
      ValueError: it is another model.
    """
    actual = hash_base(params)
    if actual != record.hash:
        raise ValueError(
            f"{folder} holds adapters of another model than {path}: of {record.hash[:12]}, and "
            f"that is {actual[:12]} (sha256 of the parameters); put their base there"
        )


def merge_with_base(record: AdaptersRecord, trained: Tree, base: Tree) -> Tree:
    """Returns the parameters of the model that adapters and their base are together, on the host.

    Args:
      trained: parameters of the adapters.
      base: parameters of the base, as loaded.
    """
    whole = bundle.flatten_weights(trained).keys() & bundle.flatten_weights(base).keys()
    stored = lora.store_base(record.config, base, whole)
    return jax.tree.map(np.asarray, lora.merge_params(record.config, trained, stored))


def merge_headers(
    adapters: Mapping[str, TensorEntry], base: Mapping[str, TensorEntry], path: Path
) -> dict[str, TensorEntry]:
    """Returns the tensors of the model that adapters and their base are together.

    Raises:
      ValueError: a factor has no kernel in the base, or not its shape.
    """
    merged = dict(base)
    for name, entry in adapters.items():
        stem, _, last = name.rpartition("/")
        if last not in (lora.FACTOR_A, lora.FACTOR_B):
            merged[name] = entry
        elif not _fits_kernel(stem, adapters, base):
            raise ValueError(f"{path}: {name} of shape {entry.shape} fits no kernel of its base")
    return merged


def _fits_kernel(
    stem: str, adapters: Mapping[str, TensorEntry], base: Mapping[str, TensorEntry]
) -> bool:
    """Returns true if the factors and the kernel of a projection have matching shapes."""
    names = (f"{stem}/{last}" for last in (lora.FACTOR_A, lora.FACTOR_B))
    a, b = (adapters.get(name) for name in names)
    kernel = base.get(f"{stem}/{lora.KERNEL}")
    if a is None or b is None or kernel is None or len(a.shape) < 2:
        return False
    features_out = kernel.shape[-1:]
    return kernel.shape == a.shape[:-1] + features_out and (
        b.shape == (*a.shape[:-2], a.shape[-1], *features_out)
    )
