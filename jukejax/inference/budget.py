"""Estimates of how many windows fit into a device's memory.

A row of a batch holds its caches and conditions as long as its window is sampled. A pass over whole
windows (prefill, conditioner) needs far more memory a row, but only while it runs: so it takes a
few rows at a time.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.inference.token_loop import NOISE_CHUNK
from jukejax.models.prior import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import cache_shape
from jukejax.runtime.memory import usable_bytes

SLACK = 1.15  # allocators leave gaps between arrays, and programs need some memory besides
CPU_ROWS = 16  # more rows are no faster on a CPU, and a kill loses the rows in progress


class BatchBudget(NamedTuple):
    """A batch that fits.

    Attributes:
      rows: windows in the batch.
      chunk: rows that pass through the whole model at once.
    """

    rows: int
    chunk: int


def cache_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Returns the size of one window's caches, of all layers, keys and values."""
    stack = config.autoregressive.transformer
    shapes = (
        cache_shape(kind, stack.grid, 1, stack.num_heads, stack.head_dim, stack.encoder_len)
        for kind in stack.pattern
    )
    return 2 * sum(map(math.prod, shapes)) * jnp.dtype(dtype).itemsize


def row_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Returns the memory that a row holds while its window is sampled.

    It is the sum of caches, conditions, noise, logits and codes.
    """
    stack = config.autoregressive.transformer
    conditions = (stack.seq_len + stack.encoder_len) * stack.emb_dim * jnp.dtype(dtype).itemsize
    values = (2 * NOISE_CHUNK + 4) * config.autoregressive.vocab_size + 2 * stack.seq_len
    return cache_bytes(config, dtype) + conditions + 4 * values


def pass_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Estimates the memory of a row in a pass over its whole window.

    The largest of: a block's input, products and attention scores; the conditioner's convolutions.
    """
    stack, size = config.autoregressive.transformer, jnp.dtype(dtype).itemsize
    scores = 4 * stack.num_heads * max(_count_keys(kind, stack) for kind in stack.pattern)
    mlp = int(stack.emb_dim * stack.mlp_ratio)
    block = size * (4 * stack.emb_dim + 6 * stack.attn_dim + 2 * mlp) + 8 * stack.emb_dim + scores
    upper = 0 if config.upper is None else (size + 4) * (4 * config.upper.width + stack.emb_dim)
    return stack.seq_len * max(block, upper)


def _count_keys(kind: AttentionKind, stack: TransformerConfig) -> int:
    """Returns for how many keys a position computes scores, at most."""
    grid = stack.grid
    return {
        AttentionKind.BLOCK: grid.block_len,
        AttentionKind.TRANSPOSED_BLOCK: grid.num_rows,
        AttentionKind.PREVIOUS_BLOCK: grid.block_len,
        AttentionKind.SUMMARY: grid.num_rows,
        AttentionKind.SUMMARY_SPREAD: grid.num_rows * grid.spread,
        AttentionKind.ENCODER_DECODER: stack.encoder_len,
        AttentionKind.PRIME: grid.prime_len,
    }.get(kind, stack.seq_len)


def fit_batch(
    config: PriorConfig, weights: Tree, dtype: jnp.dtype, memory_fraction: float
) -> BatchBudget:
    """Returns the largest batch whose rows and weights take this share of the first device.

    It depends on the memory that the device has, not on what is free, so that a resumed command
    gets the same batch again. A batch that does not fit all the same is halved when it runs.

    Raises:
      ValueError: the fraction is not in (0, 1].
    """
    if not 0 < memory_fraction <= 1:
        raise ValueError(f"memory_fraction is {memory_fraction}, must be more than 0 and at most 1")
    device = jax.local_devices()[0]
    device_bytes = usable_bytes(device)
    max_rows = CPU_ROWS if device.platform == "cpu" else math.inf
    if device_bytes is None:
        return BatchBudget(1, 1)
    weight_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(weights))
    return divide_memory(
        memory_fraction * device_bytes - weight_bytes,
        row_bytes(config, dtype),
        pass_bytes(config, dtype),
        max_rows,
    )


def divide_memory(
    available: float, row: int, whole_pass: int, max_rows: float = math.inf
) -> BatchBudget:
    """Divides `available` bytes among the rows of a batch and a pass over some of them.

    Args:
      row: bytes that each row holds.
      whole_pass: further bytes of each row that passes through the whole model.

    Returns:
      At least one row.
    """
    available /= SLACK
    rows = max(int(min((available - whole_pass) // row, max_rows)), 1)
    chunk = max(min(int((available - rows * row) // whole_pass), rows), 1)
    return BatchBudget(rows, chunk)
