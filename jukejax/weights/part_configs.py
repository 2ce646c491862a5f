"""The config of a part of a model, VQ-VAE or prior: its description, name and tree of shapes."""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.models.prior import Prior, PriorConfig
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig

Config = VQVAEConfig | PriorConfig


def parse_description(description: Mapping) -> tuple[str, Config]:
    """Returns (part, config) of a model's description, as in a bundle.

    Raises:
      ValueError: it is no description of a model, or the config has an unknown key.
    """
    kind, config = description.get("kind"), description.get("config", {})
    if kind == "vqvae":
        return "vqvae", freeze(VQVAEConfig, config, "vqvae")
    if kind != "prior":
        raise ValueError(f"a description of kind {kind!r} is no model's; known: vqvae, prior")
    frozen = freeze(PriorConfig, config, "prior")
    return f"level_{frozen.level}", frozen


def name_part(description: Mapping) -> str:
    """Returns a model's name, which is also its folder in a bundle: "vqvae", "level_0", ..."""
    return "vqvae" if description["kind"] == "vqvae" else f"level_{description['level']}"


@functools.cache  # tracing a prior takes seconds, and a conversion needs its shapes three times
def find_part_shapes(config: Config) -> Tree:
    """Returns {"params", "extra"} of a part, with `jax.ShapeDtypeStruct`s; do not modify it."""
    if isinstance(config, PriorConfig):
        return {"params": find_prior_shapes(config)}
    key = jax.eval_shape(jax.random.key, 0)
    audio = jax.ShapeDtypeStruct((1, config.unit, config.channels), jnp.float32)
    tree = nn.meta.unbox(jax.eval_shape(VQVAE(config).init, key, audio))
    return {"params": tree["params"], "extra": tree.get("codebook", {})}


def find_prior_shapes(config: PriorConfig) -> Tree:
    """Returns our tree of a prior with `jax.ShapeDtypeStruct`s as leaves."""
    return nn.meta.unbox(box_prior_shapes(config))


def box_prior_shapes(config: PriorConfig) -> Tree:
    """Returns the tree of `find_prior_shapes` with the logical axis names of its leaves."""
    upper_codes = labels = None
    if config.upper is not None:
        shape = (1, *config.upper.find_shape(config.seq_len))
        upper_codes = jax.ShapeDtypeStruct(shape, jnp.int32)
    if config.labels is not None:
        labels = jax.ShapeDtypeStruct((1, config.label_width), jnp.int32)
    codes = jax.ShapeDtypeStruct((1, config.seq_len), jnp.int32)
    key = jax.eval_shape(jax.random.key, 0)
    variables = jax.eval_shape(Prior(config).init, key, codes, upper_codes, labels)
    return variables["params"]
