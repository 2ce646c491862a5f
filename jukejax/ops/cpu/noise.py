"""Gumbel noise on CPUs, by an XLA custom call (noise.cc).

XLA's CPU compiler materializes the words of Threefry several times, and takes three times as long.

Letters: N positions, B batch, V vocab_size.
"""

import jax
import jax.numpy as jnp

from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu

LIBRARY = Library("noise", "NoiseUsable", ("Gumbel",))
TARGET = LIBRARY.target("Gumbel")


def supports_keys(keys: jax.Array) -> bool:
    """Returns true if the custom call supports PRNG keys of this implementation."""
    is_threefry = str(jax.random.key_impl(keys)) == "threefry2x32"
    return is_threefry and is_for_one_cpu() and LIBRARY.is_usable()


def gumbel_noise(keys: jax.Array, positions: jax.Array, vocab_size: int) -> jax.Array:
    """Computes `ops.noise.gumbel_noise` of keys [B] and positions int32 [N, B]: [N, B, V]."""
    result = jax.ShapeDtypeStruct((*positions.shape, vocab_size), jnp.float32)
    call = jax.ffi.ffi_call(TARGET, result, vmap_method="sequential")
    return call(jax.random.key_data(keys), positions.astype(jnp.int32))
