"""Loading a trained model from a run of `train` or from a bundle of `export`."""

from pathlib import Path
from typing import NamedTuple

from jukejax.common import files, mirrors
from jukejax.common.types import Tree
from jukejax.weights import adapters, bundle, checkpoints, part_checks, part_configs, stream
from jukejax.weights.adapters import AdaptersRecord
from jukejax.weights.headers import TensorEntry, read_header


class _CheckedPart(NamedTuple):
    """A model whose description was checked.

    Attributes:
      header: of the weights in a bundle, with those of the base of adapters; None for a workdir of
        `train`.
      adapters: the record of adapters; None for a model.
    """

    folder: Path
    description: dict
    config: part_configs.Config
    header: dict[str, TensorEntry] | None
    adapters: AdaptersRecord | None


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
    stored_name = part_configs.name_part(description)
    if stored_name != name:
        raise ValueError(f"{path} holds {stored_name}, but {name} is needed here")
    record = adapters.read_record(description, file)
    header = None
    if not is_run:
        weights = folder / "weights.safetensors"
        if not weights.exists():
            raise ValueError(f"{weights} is missing; export the model again")
        header = read_header(weights)
        if record is not None:
            base = _check_part(_find_plain_base(record, name, folder), name)
            header = adapters.merge_headers(header, _list_tensors(base), weights)
        part_checks.check_sizes(description["config"], header, file)
    config = part_checks.parse_config(description, file)
    return _CheckedPart(folder, description, config, header, record)


def _find_plain_base(record: AdaptersRecord, name: str, folder: Path) -> str:
    """Returns the folder of the base of adapters, which must be a model.

    Raises:
      ValueError: it is not there, or it holds adapters too.
    """
    path = adapters.find_base(record, folder)
    base_folder, is_run = _locate_model(Path(path), name)
    file = base_folder / ("description.json" if is_run else "config.json")
    if adapters.RECORD in files.read_json(file):
        raise ValueError(
            f"{folder} holds adapters of {path}, which holds adapters itself; export that model "
            "without --adapters, and put it there"
        )
    return path


def _list_tensors(part: _CheckedPart) -> dict[str, TensorEntry]:
    """Returns the tensors of a model; those of a workdir by its config."""
    if part.header is not None:
        return part.header
    shapes = stream.flatten_shapes(part_configs.find_part_shapes(part.config))
    return {name: TensorEntry("F32", shape, (0, 0)) for name, shape in shapes.items()}


def load_model(path: str | Path, name: str) -> tuple[dict, Tree]:
    """Loads one model; returns (description, {"params", "extra"}).

    Adapters are merged with their base, and their record is removed from the description.

    Args:
      path: a workdir of `train` (whose averaged weights are loaded), a bundle, or a part of one.
      name: the part, if `path` is a bundle: "vqvae", "level_0", ...

    Raises:
      ValueError: there is no usable model, it is not `name`, its weights do not fit its config or
        are not finite, or it holds adapters without their base.
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
    if part.adapters is not None:
        params = merge_adapters(part.adapters, params, name, part.folder)
    weights = {"params": params, "extra": extra or {}}
    part_checks.check_finite(weights, where)
    description = dict(part.description)
    description.pop(adapters.RECORD, None)
    return description, weights


def merge_adapters(record: AdaptersRecord, trained: Tree, name: str, folder: Path) -> Tree:
    """Returns the parameters of the model that adapters and their base are together.

    Args:
      trained: parameters of the adapters.
      name: of the part.
      folder: of the adapters.

    Raises:
      ValueError: the base is not there, or it is another model.
    """
    path = _find_plain_base(record, name, folder)
    base = load_model(path, name)[1]["params"]
    adapters.check_base(record, base, path, folder)
    return adapters.merge_with_base(record, trained, base)


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
