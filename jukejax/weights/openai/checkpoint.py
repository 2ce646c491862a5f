"""OpenAI's checkpoints: `.pth.tar` files with a state dict under "model"; no code in them is run.

Torch is imported only here, and only when a file is read or written.
"""

import dataclasses
import importlib
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jukejax.common import files
from jukejax.models.prior import PriorConfig
from jukejax.models.vqvae import VQVAE, VQVAEConfig
from jukejax.ops import quantize
from jukejax.weights import mapping, stream
from jukejax.weights.mapping import Entry, Tree
from jukejax.weights.openai import prior as openai_prior
from jukejax.weights.openai import vqvae as openai_vqvae

Config = VQVAEConfig | PriorConfig
State = Mapping[str, np.ndarray]
WRAPPER = "module."  # in front of every name where a model was saved inside torch's data parallel


def file_name(part: str) -> str:
    """OpenAI's name for the file of a part of a bundle: "vqvae", "level_0", ..."""
    return f"{part if part == 'vqvae' else f'prior_{part}'}.pth.tar"


def torch_module() -> ModuleType:
    """Torch, which only conversion needs."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ValueError(
            "reading and writing PyTorch files needs torch: pip install 'jukejax[convert]'"
        ) from error


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """A state dict as arrays that lie in the file (memory-mapped) where its format allows it.

    Files written by torch before 1.6, OpenAI's own among them, are no zip archives and are read
    into memory.

    Raises:
      ValueError: no such file, no checkpoint, a damaged one, or no torch.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give a checkpoint such as vqvae.pth.tar")
    torch = torch_module()
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises whatever a damaged file makes it stumble over
        raise ValueError(
            f"{path} is no checkpoint of PyTorch, or a truncated one ({_first_sentence(error)})"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds no state dict, neither under 'model' nor as a whole")
    strange = next((name for name, value in state.items() if not torch.is_tensor(value)), None)
    if strange is not None:
        raise ValueError(f"{path}: {strange!r} is no tensor; a state dict holds only tensors")
    arrays = {name.removeprefix(WRAPPER): _to_array(torch, value) for name, value in state.items()}
    return stream.MappedState(arrays) if mapped else arrays


def write_checkpoint(path: str | os.PathLike, state: State, facts: Mapping) -> None:
    """A `.pth.tar` as OpenAI's code loads it; it appears whole or not at all.

    Args:
      facts: what else to say, in types that torch loads with weights_only.
    """
    torch = torch_module()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _to_tensor(torch, value) for name, value in state.items()}
    with files.replacing(path) as temporary:
        torch.save({"model": tensors, **facts}, temporary)


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:120] if lines else type(error).__name__


def _to_array(torch: ModuleType, tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _to_tensor(torch: ModuleType, value: np.ndarray):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array is read-only: so is what we do with it
        if value.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(value)


def entries(config: Config, names: Iterator[str] | Mapping = ()) -> list[Entry]:
    """Every tensor of a part; our paths start with "params" or, for codebooks, "extra".

    Args:
      names: of the checkpoint. Conditioners that recompute their activations have another name
        for their blocks there; without names, the one of the released models is taken.
    """
    if isinstance(config, VQVAEConfig):
        return [
            dataclasses.replace(entry, path=("extra", *entry.path[1:]))
            if entry.path[0] == "codebook"
            else entry
            for entry in openai_vqvae.vqvae_entries(config)
        ]
    plain = any(name.startswith("conditioner_blocks.0.cond.model.1.0.model.") for name in names)
    return [
        dataclasses.replace(entry, path=("params", *entry.path))
        for entry in openai_prior.prior_entries(config, checkpointed=not plain)
    ]


def shapes(config: Config) -> Tree:
    """{"params", "extra"} of a part, as shapes."""
    if isinstance(config, PriorConfig):
        return {"params": openai_prior.prior_shapes(config)}
    audio = jnp.zeros((1, config.hops[-1], config.channels))
    tree = nn.meta.unbox(jax.eval_shape(VQVAE(config).init, jax.random.key(0), audio))
    return {"params": tree["params"], "extra": tree.get("codebook", {})}


def plan(config: Config, state: State, dtype: np.dtype | None = None) -> list[stream.Leaf]:
    """What becomes of each tensor of a checkpoint, after checking all of them.

    Raises:
      ValueError: a tensor is missing, misshapen or unknown; the message names it.
    """
    return stream.plan(entries(config, state), state, shapes(config), dtype=dtype)


def codebook_averages(leaves: list[stream.Leaf], state: State) -> dict[str, np.ndarray]:
    """The moving averages behind the codebooks, which checkpoints do not keep, by their names."""
    found = {}
    for leaf in leaves:
        place, _, name = leaf.name.rpartition("/")
        if not place.startswith("extra/") or name != "codebook":
            continue
        vectors = jnp.asarray(np.asarray(state[leaf.pieces[0].name], np.float32))
        for name, value in quantize.restore(vectors)._asdict().items():
            if name != "codebook":
                found[f"{place}/{name}"] = np.asarray(value)
    return found


def to_openai(config: Config, weights: Tree) -> dict[str, np.ndarray]:
    """Our {"params", "extra"} to OpenAI's state dict, in its order."""
    return mapping.write(entries(config), weights)
