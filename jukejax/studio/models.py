"""The models that a project can play: the shipped one, those of the command line, tuned ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.common import files
from jukejax.studio.project import Project
from jukejax.weights.shipped import HOUSE, resolve_model


@dataclass(frozen=True)
class ModelInfo:
    """Describes what the page offers of a model.

    Attributes:
      levels: from coarse to fine.
      unit: samples of whole frames of codes at all levels (`VQVAEConfig.unit`).
    """

    identifier: str
    name: str
    folder: str
    levels: tuple[int, ...]
    hops: tuple[int, ...]
    unit: int
    sample_rate: int
    artists: tuple[str, ...]
    genres: tuple[str, ...]


def read_model(identifier: str, name: str, folder: str) -> ModelInfo:
    """Reads the description of a bundle.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    path = Path(folder) / "model.json"
    description = files.read_json(path)
    try:
        vocabulary = description.get("vocabulary") or {}
        hops = tuple(map(int, description["hops"]))
        return ModelInfo(
            identifier,
            name,
            folder,
            tuple(sorted(map(int, description["levels"]), reverse=True)),
            hops,
            _read_unit(path.parent, hops),
            int(description["sample_rate"]),
            tuple(map(str, vocabulary.get("artists", ()))),
            tuple(map(str, vocabulary.get("genres", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _read_unit(folder: Path, hops: Sequence[int]) -> int:
    """Reads `VQVAEConfig.unit` of a bundle without that class, which takes a second to import."""
    config = files.read_json(folder / "vqvae" / "config.json")["config"]
    turns = (config.get("frames") or {}).get("turns") or [()] * len(hops)
    return math.lcm(*(hop * max(len(each), 1) for hop, each in zip(hops, turns, strict=True)))


def list_models(project: Project, extra: dict[str, str]) -> dict[str, ModelInfo]:
    """Returns the models of a project that can be used, by identifier.

    Args:
      extra: {name: folder} of the command line; a bundle's identifier is its name.
    """
    candidates = [(HOUSE, HOUSE, HOUSE), *((name, name, folder) for name, folder in extra.items())]
    candidates += [
        (identifier, entry.name, str(project.model_folder(identifier) / "bundle"))
        for identifier, entry in project.read().entries.items()
        if identifier.startswith("m")
    ]
    models = {}
    for identifier, name, folder in candidates:
        try:
            models[identifier] = read_model(identifier, name, resolve_model(folder))
        except ValueError:  # not shipped, or not trained yet
            continue
    return models
