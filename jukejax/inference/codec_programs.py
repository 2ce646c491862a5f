"""The compiled programs of a VQ-VAE for windows of sounds and of codes.

Letters: B windows, T samples.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.models.layers import Conv, DownConv, ResidualBlock
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig

_CONVOLUTIONS = (Conv, DownConv, ResidualBlock)  # modules with kernels over several positions


@functools.partial(jax.jit, static_argnums=0)
def encode_windows(
    config: VQVAEConfig, variables: Tree, audio: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, ...]:
    """Encodes windows [B, T, 1] whose first `lengths` [B] samples are audio.

    A convolution pads the end of its input with zeros. To get the same result for audio that ends
    before the window, all positions after its end are set to zero before each convolution, as
    biases make them non-zero. A residual block may be one operation: its second convolution has a
    kernel of size 1. `lengths` must be multiples of a top-level code; codes after them are
    undefined.
    """

    def mask_end(
        apply: Callable, args: tuple, kwargs: Mapping, context: nn.module.InterceptorContext
    ) -> Any:
        if isinstance(context.module, _CONVOLUTIONS) and context.method_name == "__call__":
            (x,) = args
            ends = -(-lengths // (audio.shape[1] // x.shape[1]))  # a last frame may be partial
            inside = jnp.arange(x.shape[1]) < ends[:, None]
            args = (jnp.where(inside[..., None], x, 0.0),)
        return apply(*args, **kwargs)

    model: Any = VQVAE(config)
    with nn.intercept_methods(mask_end):
        return model.apply(variables, audio, method=VQVAE.encode)


@functools.partial(jax.jit, static_argnums=(0, 1))
def decode_window(
    config: VQVAEConfig, level: int, variables: Tree, codes: jax.Array, start: jax.Array
) -> jax.Array:
    """Computes `VQVAE.decode`."""
    model: Any = VQVAE(config)
    return model.apply(variables, codes, level, start, method=VQVAE.decode)


@functools.partial(jax.jit, static_argnums=0)
def match_window(
    config: VQVAEConfig, variables: Tree, audio: jax.Array, top_codes: jax.Array
) -> jax.Array:
    """Computes `VQVAE.match_sound`."""
    model: Any = VQVAE(config)
    return model.apply(variables, audio, top_codes, method=VQVAE.match_sound)


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_reference(
    config: VQVAEConfig,
    level: int,
    variables: Tree,
    upper_codes: jax.Array,
    start: jax.Array,
    audio: jax.Array | None,
) -> jax.Array:
    """Computes `VQVAE.encode_reference`."""
    model: Any = VQVAE(config)
    return model.apply(variables, upper_codes, level, start, audio, method=VQVAE.encode_reference)
