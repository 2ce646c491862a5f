"""Sampling of codes from logits: temperature, min-p, top-k and top-p (nucleus).

Letters: B batch, V vocab_size.
"""

import jax
import jax.numpy as jnp


def filter_logits(logits: jax.Array, *, top_k: int = 0, top_p: float = 0.0) -> jax.Array:
    """Sets logits outside the top k, or outside the nucleus of mass p, to -inf.

    Args:
      logits: [..., V].
      top_k: number of codes to keep; 0 keeps all. Ties with the k-th code are kept.
      top_p: keep the fewest codes whose total probability exceeds p, at least one, and ties with
        the last of them; 0 keeps all. The probabilities are those among the top k.
    """
    vocab_size = logits.shape[-1]
    if top_k and top_k < vocab_size:
        logits = _drop_unlikely(logits, jnp.ones_like(logits), top_k - 1)
    if top_p:
        logits = _drop_unlikely(logits, jax.nn.softmax(logits, axis=-1), top_p)
    return logits


def keep_likely(logits: jax.Array, min_p: float) -> jax.Array:
    """Sets logits [..., V] of codes less than `min_p` times as likely as the likeliest to -inf.

    Source: min-p sampling (Nguyen et al., 2024), equation 2.
    """
    log_limit = logits.max(axis=-1, keepdims=True) + jnp.log(min_p)
    return jnp.where(logits < log_limit, -jnp.inf, logits)


def _drop_unlikely(logits: jax.Array, weights: jax.Array, limit: float) -> jax.Array:
    """Sets a logit to -inf if the weights of all larger ones sum to more than `limit`.

    The smallest logit that stays is found by bisection: a sort of the vocabulary for each code
    takes longer than a step of a small model.

    Args:
      logits, weights: float32 [..., V]; no weight is negative.
    """
    bits = jax.lax.bitcast_convert_type(logits.astype(jnp.float32), jnp.int32)
    order = jnp.where(bits < 0, bits ^ jnp.int32(2**31 - 1), bits)  # integers in the same order

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        below, smallest = bounds
        middle = (below & smallest) + ((below ^ smallest) >> 1)  # of a sum that may overflow
        larger = jnp.where(order > middle, weights, 0.0).sum(axis=-1, keepdims=True)
        is_low = larger > limit
        return jnp.where(is_low, middle, below), jnp.where(is_low, smallest, middle)

    bounds = order.min(axis=-1, keepdims=True) - 1, order.max(axis=-1, keepdims=True)
    _, smallest = jax.lax.fori_loop(0, 32, halve, bounds)
    return jnp.where(order < smallest, -jnp.inf, logits)


def sample_from_logits(
    logits: jax.Array,
    noise: jax.Array,
    *,
    temperature: jax.Array,
    top_k: int = 0,
    top_p: float = 0.0,
    min_p: float = 0.0,
) -> jax.Array:
    """Samples one code for each item, int32 [B]: argmax(filter(logits / temperature) + noise).

    With standard Gumbel `noise` [B, V] this samples the filtered distribution (the Gumbel-max
    trick); temperature 0 selects the most likely code without noise.

    Args:
      temperature: scalar, or [B, 1].
      top_k, top_p: filters after the temperature, see `filter_logits`.
      min_p: filter before the temperature, see `keep_likely`, so that a high one makes no
        unlikely code likelier; 0 keeps all codes.
    """
    if min_p:
        logits = keep_likely(logits, min_p)
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
