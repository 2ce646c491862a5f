"""Which of OpenAI's models a checkpoint is: the configs of `configs/openai_*.py`, by part."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.config import freeze
from jukejax.models.prior import PriorConfig
from jukejax.models.vqvae import VQVAEConfig
from jukejax.weights import stream
from jukejax.weights.openai import checkpoint as openai
from jukejax.weights.openai.checkpoint import Config

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
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
    """(part, config) of a config file: FILE.py[:VARIANT], or the config.json of a bundle's part.

    Raises:
      ValueError: there is no such file or variant, or it is no model's config.
    """
    name, _, variant = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"config file {path} is missing")
    if path.suffix == ".json":
        return described(files.read_json(path))
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None:
        raise ValueError(f"{path} is no config: give a .py file or a config.json")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    found = module.get_config(variant) if variant else module.get_config()
    return described({"kind": found.task, "config": found.model.to_dict()})


def described(description: Mapping) -> tuple[str, Config]:
    """(part, config) of a model's description, as in a bundle."""
    kind, config = description.get("kind"), description.get("config")
    if kind == "vqvae":
        return "vqvae", freeze(VQVAEConfig, config, "vqvae")
    if kind != "prior":
        raise ValueError(f"a description of kind {kind!r} is no model's; known: vqvae, prior")
    frozen = freeze(PriorConfig, config, "prior")
    return f"level_{frozen.level}", frozen


def configs_of(model: str) -> dict[str, Config]:
    """The configs of a released model, by part."""
    if model not in MODELS:
        raise ValueError(f"there is no released model {model!r}; known: {', '.join(MODELS)}")
    return dict(read_config(f"{path}:{variant}") for path, variant in MODELS[model].values())


def guess(part: str, state: Mapping[str, np.ndarray]) -> tuple[str, Config]:
    """(variant, config) of the released model whose tensors are most like those of a checkpoint."""
    variants = {specs[part] for specs in MODELS.values() if part in specs}
    if not variants:
        raise ValueError(f"no released model has a part {part}; say which model it is by --config")
    best = (-1, "", None)
    for path, variant in sorted(variants, key=lambda spec: spec[1]):
        _, config = read_config(f"{path}:{variant}")
        sizes = stream.foreign_shapes(openai.entries(config, state), openai.shapes(config))
        alike = sum(name in state and state[name].shape == sizes[name] for name in sizes)
        score = alike / len(sizes.keys() | state.keys())
        if score > best[0]:
            best = (score, variant, config)
    return best[1:]
