"""Jukebox as Hugging Face Transformers 4.49 keeps it: the same tensors under other names.

Their state dict is one for the whole model; `priors.0` is the top level, which is level 2 here.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.weights import stream
from jukejax.weights.huggingface.config import LEVELS, model_config
from jukejax.weights.mapping import Tree
from jukejax.weights.openai import checkpoint as openai

# From OpenAI's names to theirs. The inner blocks of convolutions are numbered in pairs, a residual
# stack and a strided convolution, where OpenAI nests them.
_CONV = {"1": "conv1d_1", "3": "conv1d_2"}
_BLOCK = re.compile(r"^(\d+)\.(\d+)\.(?:(?:blocks|model)\.(\d+)\.model\.([13])\.)?(weight|bias)$")
_PLAIN = re.compile(r"^(\d+)\.(weight|bias)$")
_PREFIXES = {
    "prime_prior.": "encoder.",
    "prime_state_proj.": "encoder.proj_in.",
    "prime_state_ln.": "encoder.final_layer_norm.",
    "prime_x_out.": "encoder.lm_head.",
    "conditioner_blocks.0.ln.": "conditioner_blocks.layer_norm.",
    "conditioner_blocks.0.x_emb.": "conditioner_blocks.embed_tokens.",
    "y_emb.bow_genre_emb.emb.": "metadata_embedding.bow_genre_emb.",
    "y_emb.artist_emb.emb.": "metadata_embedding.artist_emb.",
    "y_emb.": "metadata_embedding.",
}
_INNER = {
    ".x_emb.": ".embed_tokens.",
    ".x_out.": ".fc_proj_out.",
    ".ln_0.": ".layer_norm_0.",
    ".ln_1.": ".layer_norm_1.",
}


def _decoder_block(inner: str) -> str:
    """Names inside a decoder block, behind "model."; the first convolution stands alone."""
    if plain := _PLAIN.match(inner):
        return f"proj_in.{plain[2]}"
    number, half, block, conv, kind = _BLOCK.match(inner).groups()
    place = f"upsample_block.{2 * int(number) - 2 + int(half)}"
    return f"{place}.{kind}" if block is None else f"{place}.{_residual(block, conv, kind)}"


def _encoder_block(inner: str) -> str:
    """Names inside an encoder block, behind "model."; the last convolution stands alone."""
    if plain := _PLAIN.match(inner):
        return f"proj_out.{plain[2]}"
    number, half, block, conv, kind = _BLOCK.match(inner).groups()
    place = f"downsample_block.{2 * int(number) + int(half)}"
    return f"{place}.{kind}" if block is None else f"{place}.{_residual(block, conv, kind)}"


def _residual(block: str, conv: str, kind: str) -> str:
    return f"resnet_block.{block}.{_CONV[conv]}.{kind}"


def tensor_name(name: str) -> str:
    """OpenAI's name of a tensor of the VQ-VAE or of a prior to the one in Transformers."""
    block, _, inner = name.partition(".model.")
    if name.startswith("encoders."):
        return f"{block}.{_encoder_block(inner)}"
    if name.startswith("decoders.") and inner:
        return f"{block}.{_decoder_block(inner)}"
    if name.startswith("conditioner_blocks.0.cond."):
        return f"conditioner_blocks.upsampler.{_decoder_block(inner)}"
    if name.startswith("bottleneck."):
        return re.sub(r"\.k$", ".codebook", name)
    for theirs, ours in _PREFIXES.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    for theirs, ours in _INNER.items():
        name = name.replace(theirs, ours)
    return re.sub(r"\.b$", ".bias", re.sub(r"\.w$", ".weight", name))


def prefix(part: str) -> str:
    """What stands before the names of a part: "vqvae", "level_0", ..."""
    if part == "vqvae":
        return "vqvae."
    return f"priors.{LEVELS - 1 - int(part.removeprefix('level_'))}."


def load_states(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """All tensors of a model folder as arrays that lie in its files (memory-mapped).

    Reads safetensors, in one file or several, or else pytorch_model.bin, in one file or several.

    Raises:
      ValueError: there are no weights, or they are damaged; the message names the file.
    """
    folder = Path(folder)
    for name, read in (
        ("model.safetensors", stream.map_file),
        ("pytorch_model.bin", openai.read_checkpoint),
    ):
        index = folder / f"{name}.index.json"
        if index.exists():
            names = sorted(set(files.read_json(index).get("weight_map", {}).values()))
        else:
            names = [name] if (folder / name).exists() else []
        if names:
            found = [read(folder / name) for name in names]
            whole = {name: value for states in found for name, value in states.items()}
            mapped = all(isinstance(states, stream.MappedState) for states in found)
            return stream.MappedState(whole) if mapped else whole
    raise ValueError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def part_state(
    states: dict[str, np.ndarray], part: str, config: openai.Config
) -> dict[str, np.ndarray]:
    """One part's tensors under OpenAI's names; tensors that it should not have keep theirs.

    Output weights that are tied to the embedding may be missing in the file.
    """
    start = prefix(part)
    left = {name: value for name, value in states.items() if name.startswith(start)}
    found = {}
    for entry in openai.entries(config):
        theirs = start + tensor_name(entry.name)
        tied = start + "prior.embed_tokens.weight"
        if theirs in left:
            found[entry.name] = left.pop(theirs)
        elif entry.name == "prior.x_out.weight" and not config.merged_decoder and tied in states:
            found[entry.name] = states[tied]
        else:
            raise ValueError(f"the checkpoint lacks the tensor {theirs}")
    return type(states)(found | left)


def write_model(
    folder: str | os.PathLike,
    configs: Mapping[str, openai.Config],
    weights: Callable[[str], Tree],
) -> None:
    """config.json and model.safetensors, which `JukeboxModel.from_pretrained` loads.

    Args:
      configs: by part; the VQ-VAE, and priors from the top level down without a gap.
      weights: gives a part's {"params", "extra"}.
    """
    from safetensors.numpy import save_file

    described = model_config(configs)
    states = {
        prefix(part) + tensor_name(name): value
        for part, config in configs.items()
        for name, value in openai.to_openai(config, weights(part)).items()
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "model.safetensors") as temporary:
        save_file(states, temporary, metadata={"format": "pt"})
    files.write_json(folder / "config.json", described)
