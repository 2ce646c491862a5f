"""OpenAI's released models: their configs (`configs/openai_*.py`), and their identification."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.weights import stream
from jukejax.weights.openai.parts import part_entries
from jukejax.weights.part_configs import Config, find_part_shapes, parse_description

CONFIGS = files.find_configs_folder()
RELEASED, SMALL = CONFIGS / "openai_released.py", CONFIGS / "openai_small.py"

_UPSAMPLED = {
    "vqvae": (RELEASED, "vqvae"),
    "level_0": (RELEASED, "upsampler0"),
    "level_1": (RELEASED, "upsampler1"),
}
_TOPS = ("small_prior", "small_labelled_prior")
_LYRIC_TOPS = ("small_single_enc_dec_prior", "small_sep_enc_dec_prior")
MODELS = {
    **{
        name: _UPSAMPLED | {"level_2": (RELEASED, name)}
        for name in ("1b_lyrics", "5b", "5b_lyrics")
    },
    **{
        name: {"vqvae": (RELEASED, "vqvae"), "level_2": (SMALL, name)}
        for name in (*_TOPS, *_LYRIC_TOPS)
    },
    "small_upsampler": {"vqvae": (SMALL, "small_vqvae"), "level_0": (SMALL, "small_upsampler")},
}


def read_config(spec: str) -> tuple[str, Config]:
    """Reads the config of one part; returns (part, config).

    Args:
      spec: FILE.py[:VARIANT], or the config.json of a bundle's part.

    Raises:
      ValueError: there is no such file or variant, or it is not the config of a model.
    """
    name, _, variant = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"config file {path} is missing")
    if path.suffix == ".json":
        return parse_description(files.read_json(path))
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"{path} is no config: give a .py file or a config.json")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    settings = module.get_config(variant) if variant else module.get_config()
    return parse_description({"kind": settings.task, "config": settings.model.to_dict()})


def load_configs(model: str) -> dict[str, Config]:
    """Loads the configs of a released model, by part."""
    if model not in MODELS:
        raise ValueError(f"there is no released model {model!r}; known: {', '.join(MODELS)}")
    return dict(read_config(f"{path}:{variant}") for path, variant in MODELS[model].values())


def guess_variant(part: str, state: Mapping[str, np.ndarray]) -> tuple[str, Config]:
    """Finds the released model whose shapes are most similar; returns (variant, config)."""
    variants = {specs[part] for specs in MODELS.values() if part in specs}
    if not variants:
        raise ValueError(f"no released model has a part {part}; give its --config")
    configs = {
        variant: read_config(f"{path}:{variant}")[1]
        for path, variant in sorted(variants, key=lambda spec: spec[1])
    }
    best = max(configs, key=lambda variant: _similarity(configs[variant], state))
    return best, configs[best]


def _similarity(config: Config, state: Mapping[str, np.ndarray]) -> float:
    """Returns the share of tensors of a config and a checkpoint with equal names and shapes."""
    sizes = stream.foreign_shapes(part_entries(config, state), find_part_shapes(config))
    equal = sum(name in state and state[name].shape == sizes[name] for name in sizes)
    return equal / len(sizes.keys() | state.keys())
