"""Loading a trained model from a run of `train` or from a bundle of `export`."""

from pathlib import Path

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.weights import bundle, checkpoints


def read_description(path: str | Path, name: str) -> dict:
    """Reads the description of a model, without its weights.

    Args:
      path, name: as for `load_model`.

    Raises:
      ValueError: there is no usable model, or it is not `name`.
    """
    folder, is_run = _locate_model(Path(path), name)
    description = files.read_json(folder / ("description.json" if is_run else "config.json"))
    if part_name(description) != name:
        raise ValueError(f"{path} holds {part_name(description)}, but {name} is needed here")
    return description


def load_model(path: str | Path, name: str) -> tuple[dict, Tree]:
    """Loads one model; returns (description, {"params", "extra"}).

    Args:
      path: a workdir of `train` (whose averaged weights are loaded), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...

    Raises:
      ValueError: there is no usable model, or it is not `name`.
    """
    description = read_description(path, name)
    folder, is_run = _locate_model(Path(path), name)
    if is_run:
        state = checkpoints.read_state(folder)
        return description, {"params": state["ema_params"], "extra": state.get("extra") or {}}
    weights = bundle.load_part(folder)[1]
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
