"""How many windows fit into a device side by side, and how many of them pass through whole at once.

A row of a batch holds its caches and what its codes are told, all the time that its window takes.
A pass over whole windows (prefill, conditioner) needs far more a row, but only while it runs: so it
takes a few rows after each other.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.inference.token_loop import NOISE_AHEAD
from jukejax.models.prior import PriorConfig
from jukejax.ops.attention.kinds import AttentionKind
from jukejax.ops.cache import cache_shape
from jukejax.runtime.memory import memory_of

SLACK = 1.15  # what allocators leave between arrays, and what a program keeps besides
CPU_ROWS = 16  # more do not get a CPU further, and a row is lost when a run is killed


class Budget(NamedTuple):
    """A batch that fits.

    Attributes:
      rows: windows side by side.
      chunk: of these, as many pass through whole at once.
    """

    rows: int
    chunk: int


def cache_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Of the caches of one window, all layers, keys and values."""
    stack = config.autoregressive.transformer
    shapes = (
        cache_shape(kind, stack.grid, 1, stack.num_heads, stack.head_dim, stack.encoder_len)
        for kind in stack.pattern
    )
    return 2 * sum(map(math.prod, shapes)) * jnp.dtype(dtype).itemsize


def row_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """What a row holds while its window is drawn: caches, conditions, noise, logits, codes."""
    stack = config.autoregressive.transformer
    conditions = (stack.seq_len + stack.encoder_len) * stack.emb_dim * jnp.dtype(dtype).itemsize
    draws = (2 * NOISE_AHEAD + 4) * config.autoregressive.vocab_size + 2 * stack.seq_len
    return cache_bytes(config, dtype) + conditions + 4 * draws


def pass_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """What a row takes while it passes through whole, estimated from its widest moment: a block's
    input, products and scores of attention in one stack, or the conditioner's convolutions."""
    stack, size = config.autoregressive.transformer, jnp.dtype(dtype).itemsize
    scores = 4 * stack.num_heads * max(_keys(kind, stack) for kind in stack.pattern)
    mlp = int(stack.emb_dim * stack.mlp_ratio)
    block = size * (4 * stack.emb_dim + 6 * stack.attn_dim + 2 * mlp) + 8 * stack.emb_dim + scores
    upper = 0 if config.upper is None else (size + 4) * (4 * config.upper.width + stack.emb_dim)
    return stack.seq_len * max(block, upper)


def _keys(kind: AttentionKind, stack) -> int:
    """Keys that scores are computed for, at most, a position."""
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


def fitting(config: PriorConfig, weights: Tree, dtype: jnp.dtype, memory_fraction: float) -> Budget:
    """The largest batch whose rows and weights take so much of the first device's memory.

    It depends on what the device has, not on what is free, so that the same command finds the same
    batch again. A batch that does not fit all the same is halved when it runs.

    Raises:
      ValueError: the fraction is not in (0, 1].
    """
    if not 0 < memory_fraction <= 1:
        raise ValueError(f"memory_fraction is {memory_fraction}, must be more than 0 and at most 1")
    device = jax.local_devices()[0]
    there = memory_of(device)
    most = CPU_ROWS if device.platform == "cpu" else math.inf
    if there is None:
        return Budget(1, 1)
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(weights))
    return within(
        memory_fraction * there - held, row_bytes(config, dtype), pass_bytes(config, dtype), most
    )


def within(room: float, row: int, whole: int, most: float = math.inf) -> Budget:
    """What fits into `room` bytes, at least one row.

    Args:
      room: for the batch alone.
      row: bytes that each row holds.
      whole: bytes more of a row that passes through whole.
      most: rows.
    """
    room /= SLACK
    rows = max(int(min((room - whole) // row, most)), 1)
    chunk = max(min(int((room - rows * row) // whole), rows), 1)
    return Budget(rows, chunk)
