"""Finding a trained model, wherever it lies: a run of `train`, or a bundle that `export` made."""

from pathlib import Path

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.weights import bundle, checkpoints


def read_description(path: str | Path, name: str) -> dict:
    """What `load_part` says of a model, without its weights.

    Raises:
      ValueError: nothing usable is there, or it is another model than `name`.
    """
    place, is_run = _place(Path(path), name)
    description = files.read_json(place / ("description.json" if is_run else "config.json"))
    found = part_name(description)
    if found != name:
        raise ValueError(f"{path} holds {found}, but {name} is needed here")
    return description


def load_part(path: str | Path, name: str, *, best: bool = False) -> tuple[dict, Tree]:
    """(description, {"params", "extra"}) of one model.

    Args:
      path: a workdir of `train` (its averaged weights are taken), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...
      best: of a workdir take the checkpoint with the lowest held-out loss, not the newest.

    Raises:
      ValueError: nothing usable is there, or it is another model than `name`.
    """
    description = read_description(path, name)
    place, is_run = _place(Path(path), name)
    if is_run:
        state = checkpoints.read_state(place, best=best)
        return description, {"params": state["ema_params"], "extra": state.get("extra") or {}}
    weights = bundle.load_part(place)[1]
    return description, {"params": weights["params"], "extra": weights.get("extra", {})}


def _place(path: Path, name: str) -> tuple[Path, bool]:
    """The folder of a model, and whether it is a workdir of `train`."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; give a workdir of train or a bundle of export")
    if (path / "description.json").exists():
        return path, True
    part = path if (path / "weights.safetensors").exists() else path / name
    if not part.is_dir():
        raise ValueError(f"{path} has no {name}; export it from a workdir")
    return part, False


def part_name(description: dict) -> str:
    """The folder of a model inside a bundle."""
    return "vqvae" if description["kind"] == "vqvae" else f"level_{description['level']}"
