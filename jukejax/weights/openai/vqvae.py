"""OpenAI's names for the tensors of the VQ-VAE, and their paths in our trees.

OpenAI's checkpoints contain the code vectors, but not the moving averages.
"""

from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.types import Tree
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops import quantize
from jukejax.weights.mapping import Entry, build_state, build_tree
from jukejax.weights.openai.conv import conv_entries, decoder_block_entries, encoder_block_entries


def vqvae_entries(config: VQVAEConfig) -> Iterator[Entry]:
    """Yields every tensor; our paths start with the collection, "params" or "codebook".

    Raises:
      ValueError: OpenAI's code has no such model.
    """
    if config.bottleneck == "kl":
        raise ValueError(
            "OpenAI's code has no VQ-VAE with a KL bottleneck (config.model.bottleneck); take "
            "--format=bundle or safetensors"
        )
    if config.frames is not None:
        raise ValueError(
            "OpenAI's code has no VQ-VAE with frames (config.model.frames); take --format=bundle "
            "or safetensors"
        )
    for level in range(config.levels):
        depth = config.multipliers[level] * config.depth
        for i in range(level + 1):
            block = f"level_blocks.{i}"
            for entry in encoder_block_entries(config.downs[i], depth):
                path = (f"encoders_{level}", f"block_{i}")
                yield _add_prefix(entry, f"encoders.{level}.{block}", path)
            for entry in decoder_block_entries(config.downs[i], depth):
                path = (f"decoders_{level}", f"block_{i}")
                yield _add_prefix(entry, f"decoders.{level}.{block}", path)
        yield from conv_entries(f"decoders.{level}.out", ("params", f"decoders_{level}", "out"))
        if config.has_codes:
            codebook = ("codebook", f"codebooks_{level}", "codebook")
            yield Entry(f"bottleneck.level_blocks.{level}.k", codebook)


def _add_prefix(entry: Entry, name: str, path: tuple[str, str]) -> Entry:
    return Entry(f"{name}.{entry.name}", ("params", *path, *entry.path), axes=entry.axes)


def from_openai(
    config: VQVAEConfig,
    state: Mapping[str, np.ndarray],
    *,
    prefix: str = "",
    num_tokens: float | None = None,
) -> tuple[Tree, Tree]:
    """Converts a state dict to (params, codebook).

    Args:
      prefix: of the names in `state`.
      num_tokens: codes of a training batch, to continue training (`quantize.restore_codebook`).

    Raises:
      ValueError: a tensor is missing, misshapen or unknown; the message names it.
    """
    audio = jnp.zeros((1, config.hops[-1], config.channels))
    shapes = nn.meta.unbox(jax.eval_shape(VQVAE(config).init, jax.random.key(0), audio))
    tree = build_tree(vqvae_entries(config), state, shapes, prefix=prefix)
    codebook = {
        name: quantize.restore_codebook(leaves["codebook"], num_tokens=num_tokens)._asdict()
        for name, leaves in tree.get("codebook", {}).items()
    }
    return tree["params"], codebook


def to_openai(
    config: VQVAEConfig, params: Tree, codebook: Tree, *, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Inverts `from_openai`."""
    tree = {"params": params, "codebook": codebook}
    return build_state(vqvae_entries(config), tree, prefix=prefix)
