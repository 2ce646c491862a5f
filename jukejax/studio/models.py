"""The models that a project can play: the shipped one, those of the command line, tuned ones."""

import math
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
    """

    identifier: str
    name: str
    folder: str
    levels: tuple[int, ...]
    hops: tuple[int, ...]
    sample_rate: int
    artists: tuple[str, ...]
    genres: tuple[str, ...]

    def read_unit(self) -> int:
        """Reads `VQVAEConfig.unit` without that class, which takes a second to import.

        Raises:
          ValueError: the description of the VQ-VAE is missing or damaged.
        """
        path = Path(self.folder) / "vqvae" / "config.json"
        description = files.read_json(path)
        try:
            turns = (description["config"].get("frames") or {}).get("turns") or [()] * len(
                self.hops
            )
            sizes = [hop * max(len(each), 1) for hop, each in zip(self.hops, turns, strict=True)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        return math.lcm(*sizes)


def read_model(identifier: str, name: str, folder: str) -> ModelInfo:
    """Reads the description of a bundle.

    Raises:
      ValueError: there is none, or it is damaged.
    """
    path = Path(folder) / "model.json"
    description = files.read_json(path)
    try:
        vocabulary = description.get("vocabulary") or {}
        return ModelInfo(
            identifier,
            name,
            folder,
            tuple(sorted(map(int, description["levels"]), reverse=True)),
            tuple(map(int, description["hops"])),
            int(description["sample_rate"]),
            tuple(map(str, vocabulary.get("artists", ()))),
            tuple(map(str, vocabulary.get("genres", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


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
