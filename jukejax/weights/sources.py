"""Checkpoints to convert: OpenAI's files, or a model folder of Hugging Face Transformers."""

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jukejax.common import files
from jukejax.weights.huggingface import checkpoint as huggingface_checkpoint
from jukejax.weights.huggingface.config import import_configs
from jukejax.weights.openai import checkpoint as openai_checkpoint
from jukejax.weights.part_configs import Config, parse_description
from jukejax.weights.stream import State

SUFFIXES = ("*.pth.tar", "*.pth", "*.pt")


@dataclass(frozen=True)
class PartSource:
    """The checkpoint of one part.

    Attributes:
      path: file or folder, for messages.
      load: reads the tensors, under OpenAI's names.
      config: config of the part; None if it is not beside the checkpoint.
    """

    path: Path
    load: Callable[[], State]
    config: Config | None


@dataclass(frozen=True)
class ModelSource:
    """The checkpoints of a model.

    Attributes:
      parts: by name, "vqvae", "level_0", ...
      facts: content of export.json, which `export` writes beside its files; {} without it.
    """

    parts: dict[str, PartSource]
    facts: dict

    def vocabulary(self, part: str) -> dict | None:
        """Returns the names of artists and genres of a part, if they are beside the checkpoint."""
        return self.facts.get("parts", {}).get(part, {}).get("vocabulary")


def open_openai_files(inputs: Sequence[str]) -> ModelSource:
    """Finds the parts among OpenAI's files.

    Args:
      inputs: files, or folders of them.

    Raises:
      ValueError: a path does not exist, a folder has no file, the name of a file identifies no
        part, or two files are the same part.
    """
    paths: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            checkpoints = sorted(file for pattern in SUFFIXES for file in path.glob(pattern))
            if not checkpoints:
                raise ValueError(f"{path} holds no checkpoints ({', '.join(SUFFIXES)})")
            paths += checkpoints
        elif path.exists():
            paths.append(path)
        else:
            raise ValueError(f"--input={path} does not exist")
    facts = _read_export_facts({path.parent for path in paths})
    configs = dict(map(parse_description, facts.get("parts", {}).values()))
    parts: dict[str, PartSource] = {}
    for path in paths:
        part = parse_part_name(path)
        if part in parts:
            raise ValueError(f"{path} and {parts[part].path} are both {part}; give one of them")
        load = functools.partial(openai_checkpoint.read_checkpoint, path)
        parts[part] = PartSource(path, load, configs.get(part))
    return ModelSource(parts, facts)


def open_transformers_folder(inputs: Sequence[str]) -> ModelSource:
    """Opens a model folder of Hugging Face Transformers.

    Raises:
      ValueError: it is not one folder, or its config or weights are missing or damaged.
    """
    if len(inputs) != 1 or not Path(inputs[0]).is_dir():
        raise ValueError(
            "--from=huggingface takes one folder, with config.json and the weights; download it "
            "with git or huggingface-cli"
        )
    folder = Path(inputs[0])
    configs = import_configs(files.read_json(folder / "config.json"))
    states = huggingface_checkpoint.load_states(folder)
    parts = {}
    for part, config in configs.items():
        load = functools.partial(huggingface_checkpoint.select_part, states, part, config)
        parts[part] = PartSource(folder, load, config)
    return ModelSource(parts, _read_export_facts({folder}))


def parse_part_name(path: Path) -> str:
    """Returns the part ("vqvae", "level_2", ...) of a file by OpenAI's name.

    Raises:
      ValueError: the name identifies no part.
    """
    if "vqvae" in path.name:
        return "vqvae"
    level = re.search(r"level_(\d)", path.name)
    if level is None:
        raise ValueError(
            f"{path.name} identifies no part; name it vqvae.pth.tar or prior_level_2.pth.tar "
            "(or 1, or 0)"
        )
    return f"level_{level[1]}"


def _read_export_facts(folders: Iterable[Path]) -> dict:
    for folder in folders:
        if (folder / "export.json").exists():
            return files.read_json(folder / "export.json")
    return {}
