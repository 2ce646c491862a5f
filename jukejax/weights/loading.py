"""Loading a trained model from a run of `train` or from a bundle of `export`."""

from pathlib import Path

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.weights import bundle, checkpoints, part_checks
from jukejax.weights.headers import TensorEntry, read_header


def read_description(path: str | Path, name: str) -> dict:
    """Reads the description of a model, without its weights.

    Args:
      path, name: as for `load_model`.

    Raises:
      ValueError: there is no usable model, it is not `name`, or a field is wrong.
    """
    folder, is_run = _locate_model(Path(path), name)
    file = folder / ("description.json" if is_run else "config.json")
    description = files.read_json(file)
    part_checks.check_description(description, file)
    if part_name(description) != name:
        raise ValueError(f"{path} holds {part_name(description)}, but {name} is needed here")
    if not is_run:
        part_checks.check_sizes(description["config"], _read_header(folder), file)
    part_checks.parse_config(description, file)
    return description


def _read_header(folder: Path) -> dict[str, TensorEntry]:
    path = folder / "weights.safetensors"
    if not path.exists():
        raise ValueError(f"{path} is missing; export the model again")
    return read_header(path)


def load_model(path: str | Path, name: str) -> tuple[dict, Tree]:
    """Loads one model; returns (description, {"params", "extra"}).

    Args:
      path: a workdir of `train` (whose averaged weights are loaded), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...

    Raises:
      ValueError: there is no usable model, it is not `name`, or its weights do not fit its config
        or are not finite.
    """
    description = read_description(path, name)
    folder, is_run = _locate_model(Path(path), name)
    if is_run:
        state = checkpoints.read_state(folder)
        weights = {"params": state["ema_params"], "extra": state.get("extra") or {}}
        part_checks.check_finite(weights, folder)
        return description, weights
    path = folder / "weights.safetensors"
    config = part_checks.parse_config(description, folder / "config.json")
    part_checks.check_shapes(config, _read_header(folder), path)
    weights = bundle.load_part(folder)[1]
    part_checks.check_finite(weights, path)
    return description, {"params": weights["params"], "extra": weights.get("extra", {})}


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
