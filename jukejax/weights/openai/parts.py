"""Tensors of one part of a Jukebox model, VQ-VAE or prior, under OpenAI's names and in our tree."""

import dataclasses
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.weights import mapping, stream
from jukejax.weights.mapping import Entry
from jukejax.weights.openai.prior import prior_entries
from jukejax.weights.openai.vqvae import vqvae_entries
from jukejax.weights.part_configs import Config, find_part_shapes
from jukejax.weights.stream import State

# Name of the blocks in a conditioner that does not recompute its activations.
_PLAIN_CONDITIONER = "conditioner_blocks.0.cond.model.1.0.model."


def part_entries(config: Config, names: Iterable[str] = ()) -> list[Entry]:
    """Returns every tensor of a part; our paths start with "params" or, for codebooks, "extra".

    Args:
      names: of the checkpoint's tensors. The name of blocks differs in conditioners that recompute
        their activations; without names, that of the released models is used.
    """
    if isinstance(config, VQVAEConfig):
        return [
            dataclasses.replace(entry, path=("extra", *entry.path[1:]))
            if entry.path[0] == "codebook"
            else entry
            for entry in vqvae_entries(config)
        ]
    checkpointed = not any(name.startswith(_PLAIN_CONDITIONER) for name in names)
    return [
        dataclasses.replace(entry, path=("params", *entry.path))
        for entry in prior_entries(config, checkpointed=checkpointed)
    ]


def plan_part(
    config: Config, state: State, dtype: np.dtype | type[np.generic] | None = None
) -> list[stream.Leaf]:
    """Plans the conversion of a checkpoint, after checking all of its tensors.

    Raises:
      ValueError: a tensor is missing, misshapen or unknown; the message names it.
    """
    entries = part_entries(config, state)
    return stream.plan_leaves(entries, state, find_part_shapes(config), dtype=dtype)


def restore_codebooks(leaves: Iterable[stream.Leaf], state: State) -> dict[str, np.ndarray]:
    """Returns the codebooks' moving averages, which are missing in checkpoints, by our names."""
    averages = {}
    for leaf in leaves:
        folder, _, name = leaf.name.rpartition("/")
        if not folder.startswith("extra/") or name != "codebook":
            continue
        vectors = jnp.asarray(np.asarray(state[leaf.pieces[0].name], np.float32))
        for field, value in quantize.restore_codebook(vectors)._asdict().items():
            if field != "codebook":
                averages[f"{folder}/{field}"] = np.asarray(value)
    return averages


def part_state(config: Config, weights: Tree) -> dict[str, np.ndarray]:
    """Converts our {"params", "extra"} to OpenAI's state dict, in its order."""
    return mapping.build_state(part_entries(config), weights)
