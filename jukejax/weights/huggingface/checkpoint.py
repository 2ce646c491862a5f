"""Weights of the Jukebox port in Hugging Face Transformers 4.49: OpenAI's tensors renamed.

One state dict holds the whole model; `priors.0` is the top level, which is level 2 here.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jukejax.common import files
from jukejax.common.types import Tree
from jukejax.models.prior_config import PriorConfig
from jukejax.weights import stream
from jukejax.weights.huggingface.config import export_configs
from jukejax.weights.huggingface.vqvae_config import LEVELS
from jukejax.weights.openai import checkpoint, parts
from jukejax.weights.part_configs import Config

# Maps OpenAI's names to the port's, which numbers inner blocks in pairs of a residual stack and a
# strided convolution, whereas OpenAI nests them.
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
    """Converts a name inside a decoder block, after "model."; the first convolution is unpaired."""
    if plain := _PLAIN.match(inner):
        return f"proj_in.{plain[2]}"
    number, half, suffix = _match_block(inner)
    return f"upsample_block.{2 * number - 2 + half}.{suffix}"


def _encoder_block(inner: str) -> str:
    """Converts a name inside an encoder block, after "model."; the last convolution is unpaired."""
    if plain := _PLAIN.match(inner):
        return f"proj_out.{plain[2]}"
    number, half, suffix = _match_block(inner)
    return f"downsample_block.{2 * number + half}.{suffix}"


def _match_block(inner: str) -> tuple[int, int, str]:
    """Returns OpenAI's two numbers of a block, and the port's name inside the block."""
    match = _BLOCK.match(inner)
    if match is None:
        raise ValueError(f"{inner} is no tensor of a convolutional block")
    number, half, block, conv, kind = match.groups()
    suffix = kind if block is None else f"resnet_block.{block}.{_CONV[conv]}.{kind}"
    return int(number), int(half), suffix


def tensor_name(name: str) -> str:
    """Converts OpenAI's name of a tensor, of the VQ-VAE or a prior, to that in Transformers."""
    block, _, inner = name.partition(".model.")
    if name.startswith("encoders."):
        return f"{block}.{_encoder_block(inner)}"
    if name.startswith("decoders.") and inner:
        return f"{block}.{_decoder_block(inner)}"
    if name.startswith("conditioner_blocks.0.cond."):
        return f"conditioner_blocks.upsampler.{_decoder_block(inner)}"
    if name.startswith("bottleneck."):
        return re.sub(r"\.k$", ".codebook", name)
    for old, new in _PREFIXES.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    for old, new in _INNER.items():
        name = name.replace(old, new)
    return re.sub(r"\.b$", ".bias", re.sub(r"\.w$", ".weight", name))


def part_prefix(part: str) -> str:
    """Returns the prefix of the names of a part ("vqvae", "level_0", ...)."""
    if part == "vqvae":
        return "vqvae."
    return f"priors.{LEVELS - 1 - int(part.removeprefix('level_'))}."


def load_states(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads all tensors of a model folder, memory-mapped where the format allows it.

    The folder holds safetensors, in one file or several, or else pytorch_model.bin, likewise.

    Raises:
      ValueError: there are no weights, or they are damaged; the message names the file.
    """
    folder = Path(folder)
    for name, read in (
        ("model.safetensors", stream.map_safetensors),
        ("pytorch_model.bin", checkpoint.read_checkpoint),
    ):
        index = folder / f"{name}.index.json"
        if index.exists():
            names = sorted(set(files.read_json(index).get("weight_map", {}).values()))
        else:
            names = [name] if (folder / name).exists() else []
        if names:
            states = [read(folder / name) for name in names]
            merged = {name: value for state in states for name, value in state.items()}
            mapped = all(isinstance(state, stream.MappedState) for state in states)
            return stream.MappedState(merged) if mapped else merged
    raise ValueError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def select_part(states: dict[str, np.ndarray], part: str, config: Config) -> dict[str, np.ndarray]:
    """Selects one part's tensors, under OpenAI's names; unexpected tensors keep their names.

    Output weights that are tied to the embedding may be missing in the file.

    Raises:
      ValueError: another tensor is missing.
    """
    prefix = part_prefix(part)
    remaining = {name: value for name, value in states.items() if name.startswith(prefix)}
    embedding = states.get(prefix + "prior.embed_tokens.weight")
    tied = isinstance(config, PriorConfig) and not config.merged_decoder
    state = {}
    for entry in parts.part_entries(config):
        name = prefix + tensor_name(entry.name)
        if name in remaining:
            state[entry.name] = remaining.pop(name)
        elif entry.name == "prior.x_out.weight" and tied and embedding is not None:
            state[entry.name] = embedding
        else:
            raise ValueError(f"the checkpoint lacks the tensor {name}")
    return type(states)(state | remaining)


def write_model(
    folder: str | os.PathLike,
    configs: Mapping[str, Config],
    load_weights: Callable[[str], Tree],
) -> None:
    """Writes config.json and model.safetensors, which `JukeboxModel.from_pretrained` loads.

    Args:
      configs: by part; the VQ-VAE, and priors from the top level down without a gap.
      load_weights: loads {"params", "extra"} of a part.
    """
    from safetensors.numpy import save_file

    description = export_configs(configs)
    states = {
        part_prefix(part) + tensor_name(name): value
        for part, config in configs.items()
        for name, value in parts.part_state(config, load_weights(part)).items()
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "model.safetensors") as temporary:
        save_file(states, temporary, metadata={"format": "pt"})
    files.write_json(folder / "config.json", description)
