"""Finding a trained model, wherever it lies: a run of `train`, or a bundle that `export` made."""

from pathlib import Path
from typing import Any

from jukejax import checkpoint
from jukejax.weights import bundle

Tree = Any


def load_part(path: str | Path, name: str) -> tuple[dict, Tree]:
    """(description, {"params", "extra"}) of one model.

    Args:
      path: a workdir of `train` (its averaged weights are taken), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...

    Raises:
      ValueError: nothing usable is there, or it is another model than `name`.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; give a workdir of train or a bundle of export")
    if (path / "description.json").exists():
        description = bundle.read_json(path / "description.json")
        state = checkpoint.read_state(path)
        weights = {"params": state["ema_params"], "extra": state.get("extra") or {}}
    else:
        part = path if (path / "weights.safetensors").exists() else path / name
        if not part.is_dir():
            raise ValueError(f"{path} has no {name}; export it from a workdir")
        description, weights = bundle.load_part(part)
    found = part_name(description)
    if found != name:
        raise ValueError(f"{path} holds {found}, but {name} is needed here")
    return description, {"params": weights["params"], "extra": weights.get("extra", {})}


def part_name(description: dict) -> str:
    """The folder of a model inside a bundle."""
    return "vqvae" if description["kind"] == "vqvae" else f"level_{description['level']}"
