"""Gumbel noise from counters, for the sampling of codes.

Letters: N positions, B batch, V vocab_size.
"""

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from jukejax.ops.cpu import noise as cpu_noise


def gumbel_noise(keys: jax.Array, positions: jax.Array, vocab_size: int) -> jax.Array:
    """Returns standard Gumbel noise, float32 [N, B, V], for `positions` of a track.

    The bits are those of Threefry, two words a block: `jax.random.gumbel` discards one of the two.

    Args:
      keys: [B], one an item.
      positions: int32 [N] or [N, B].
    """
    by_item = jnp.broadcast_to(positions.reshape(len(positions), -1), (len(positions), len(keys)))
    if cpu_noise.supports_keys(keys):
        return cpu_noise.gumbel_noise(keys, by_item, vocab_size)
    counters = jnp.arange(vocab_size, dtype=jnp.uint32)

    def draw_position(key: jax.Array, position: jax.Array) -> jax.Array:
        position_key = jax.random.key_data(jax.random.fold_in(key, position))
        bits = threefry_2x32(position_key, counters)
        exponent = jnp.uint32(0x3F800000)  # of the floats in [1, 2)
        uniform = jax.lax.bitcast_convert_type((bits >> 9) | exponent, jnp.float32) - 1.0
        return -jnp.log(-jnp.log(jnp.maximum(uniform, jnp.finfo(jnp.float32).tiny)))

    return jax.vmap(jax.vmap(draw_position), in_axes=(None, 0))(keys, by_item)
