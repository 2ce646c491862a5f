"""Sampling of codes from logits: temperature, top-k and top-p (nucleus).

Letters: B batch, V vocab_size.
"""

import jax
import jax.numpy as jnp


def filter_logits(logits: jax.Array, *, top_k: int = 0, top_p: float = 0.0) -> jax.Array:
    """Sets logits outside the top k, or outside the nucleus of mass p, to -inf.

    Args:
      logits: [..., V].
      top_k: number of codes to keep; 0 keeps all. Ties with the k-th code are kept.
      top_p: keep the fewest codes whose total probability reaches p, at least one; 0 keeps all.
    """
    vocab_size = logits.shape[-1]
    if top_k and top_k < vocab_size:
        smallest = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if top_p:
        order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
        ranked = jnp.take_along_axis(logits, order, axis=-1)
        reached = jnp.cumsum(jax.nn.softmax(ranked, axis=-1), axis=-1) > top_p
        dropped = jnp.pad(reached[..., :-1], [(0, 0)] * (logits.ndim - 1) + [(1, 0)])
        rank = jnp.argsort(order, axis=-1)
        logits = jnp.where(jnp.take_along_axis(dropped, rank, axis=-1), -jnp.inf, logits)
    return logits


def sample_from_logits(
    logits: jax.Array, noise: jax.Array, *, temperature: jax.Array, top_k: int, top_p: float
) -> jax.Array:
    """Samples one code for each item, int32 [B]: argmax(filter(logits / temperature) + noise).

    With standard Gumbel `noise` [B, V] this samples the filtered distribution (the Gumbel-max
    trick); temperature 0 selects the most likely code without noise.

    Args:
      temperature: scalar, or [B, 1].
    """
    scaled = logits / jnp.where(temperature > 0, temperature, 1.0)
    scaled = filter_logits(scaled, top_k=top_k, top_p=top_p) + noise
    return find_argmax(jnp.where(temperature > 0, scaled, logits))


def find_argmax(x: jax.Array) -> jax.Array:
    """Returns the index of the largest entry of the last axis, the first of equal ones, int32.

    As `jnp.argmax`, whose reduction of pairs XLA's CPU compiler does not vectorize, by two plain
    reductions.
    """
    size = x.shape[-1]
    indices = jnp.where(x == x.max(axis=-1, keepdims=True), jnp.arange(size, dtype=jnp.int32), size)
    return jnp.minimum(indices.min(axis=-1), size - 1)
