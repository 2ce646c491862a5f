"""Attention of single steps over a cache on CPUs, by an XLA custom call (cached_attention.cc).

XLA's CPU compiler copies the visible part of a cache before it multiplies, and runs a product for
each head of each sequence on its own. The custom call writes the new position into the cache in
place, and reads the visible slots once, on all cores.

Letters: B batch, G groups, H heads, S slots, D head_dim.
"""

import jax
import jax.numpy as jnp

from jukejax.ops.cpu.library import Library
from jukejax.ops.cpu.switch import is_for_one_cpu

LIBRARY = Library("cached_attention", "CachedAttentionUsable", ("Step",))
TARGET = LIBRARY.target("Step")


def supports_step(qkv: jax.Array, cache: jax.Array) -> bool:
    """Returns true if the custom call supports a new position and a cache of these types."""
    are_supported = qkv.dtype == jnp.float32 and cache.dtype in (jnp.float32, jnp.float16)
    return are_supported and is_for_one_cpu() and LIBRARY.is_usable()


def step(
    qkv: jax.Array, key: jax.Array, value: jax.Array, slots: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Writes a position into the cache, and attends from it to the visible slots of a group.

    Args:
      qkv: unscaled, float32 [B, 3, H, D]; or only queries [B, 1, H, D].
      key: scaled keys, float32 or float16 [B, (G,) H, S, D].
      value: [B, (G,) H, S, D], of the keys' type.
      slots: int32 [4]: the group and slot to write (slot -1: none), the group to read, and the
        number of its visible slots; the result is zero if there are none.

    Returns:
      (output [B, H, D], key, value).
    """
    out = jax.ShapeDtypeStruct((len(qkv), *qkv.shape[2:]), jnp.float32)
    results = [out, *(jax.ShapeDtypeStruct(cache.shape, cache.dtype) for cache in (key, value))]
    aliases = {1: 1, 2: 2}
    call = jax.ffi.ffi_call(TARGET, results, vmap_method="sequential", input_output_aliases=aliases)
    new_out, new_key, new_value = call(qkv, key, value, slots)
    return new_out, new_key, new_value
