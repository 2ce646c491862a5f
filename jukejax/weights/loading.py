"""Loading a trained model from a run of `train` or from a bundle of `export`."""

from pathlib import Path
from typing import NamedTuple

from jukejax.common import files, mirrors
from jukejax.common.types import Tree
from jukejax.weights import bundle, checkpoints, part_checks
from jukejax.weights.headers import TensorEntry, read_header
from jukejax.weights.openai import parts


class _CheckedPart(NamedTuple):
    """A model whose description was checked.

    Attributes:
      header: of the weights in a bundle; None for a workdir of `train`.
    """

    folder: Path
    description: dict
    config: parts.Config
    header: dict[str, TensorEntry] | None


def read_description(path: str | Path, name: str) -> dict:
    """Reads the description of a model, without its weights.

    Args:
      path, name: as for `load_model`.

    Raises:
      ValueError: there is no usable model, it is not `name`, or a field is wrong.
    """
    return _check_part(path, name).description


def _check_part(path: str | Path, name: str) -> _CheckedPart:
    folder, is_run = _locate_model(mirrors.open_input(path), name)
    file = folder / ("description.json" if is_run else "config.json")
    description = files.read_json(file)
    part_checks.check_description(description, file)
    if part_name(description) != name:
        raise ValueError(f"{path} holds {part_name(description)}, but {name} is needed here")
    header = None
    if not is_run:
        weights = folder / "weights.safetensors"
        if not weights.exists():
            raise ValueError(f"{weights} is missing; export the model again")
        header = read_header(weights)
        part_checks.check_sizes(description["config"], header, file)
    return _CheckedPart(folder, description, part_checks.parse_config(description, file), header)


def load_model(path: str | Path, name: str) -> tuple[dict, Tree]:
    """Loads one model; returns (description, {"params", "extra"}).

    Args:
      path: a workdir of `train` (whose averaged weights are loaded), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...

    Raises:
      ValueError: there is no usable model, it is not `name`, or its weights do not fit its config
        or are not finite.
    """
    part = _check_part(path, name)
    if part.header is None:
        state = checkpoints.read_state(part.folder)
        params, extra, where = state["ema_params"], state.get("extra"), part.folder
    else:
        where = part.folder / "weights.safetensors"
        part_checks.check_shapes(part.config, part.header, where)
        stored = bundle.load_part(part.folder)[1]
        params, extra = stored["params"], bundle.expand_codebooks(stored.get("extra") or {})
    weights = {"params": params, "extra": extra or {}}
    part_checks.check_finite(weights, where)
    return part.description, weights


def _locate_model(path: Path, name: str) -> tuple[Path, bool]:
    """Returns (folder of a model, True if it is a workdir of `train`)."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; give a workdir of train or a bundle of export")
    if (path / "description.json").exists():
        return path, True
    part = path if (path / "weights.safetensors").exists() else path / name
    if not part.is_dir():
        raise ValueError(f"{path} has no {name}; export it from a workdir")
    return part, False


def part_name(description: dict) -> str:
    """Returns a model's name, which is also its folder in a bundle: "vqvae", "level_0", ..."""
    return "vqvae" if description["kind"] == "vqvae" else f"level_{description['level']}"
