"""Estimates of the number of windows that fit into a device's memory.

The caches and conditions of a row of a batch are stored while its window is sampled. A pass over
whole windows (prefill, conditioner) temporarily needs far more memory a row, and is therefore
computed for a few rows at a time.
"""

import math
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.inference.token_loop import NOISE_CHUNK
from jukejax.models.prior_config import PriorConfig
from jukejax.ops.attention.kinds import count_keys
from jukejax.ops.cache import cache_shape
from jukejax.runtime.memory import usable_bytes
from jukejax.runtime.sharding import bytes_by_device

SLACK = 1.15  # for gaps between allocations, and the memory of programs
CPU_ROWS = 16  # more rows are not faster on a CPU, and a kill loses the rows in progress
CPU_BATCHES = 2  # at once: the products of a step are too small to occupy two cores all the time


class BatchBudget(NamedTuple):
    """The size of a batch that fits into memory.

    Attributes:
      rows: windows in the batch.
      chunk: rows of a pass over whole windows.
      at_once: batches to compute at a time.
    """

    rows: int
    chunk: int
    at_once: int = 1


def count_cache_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Returns the size of one window's caches, of all layers, keys and values."""
    stack = config.autoregressive.transformer
    shapes = (
        cache_shape(kind, stack.grid, 1, stack.num_heads, stack.head_dim, stack.encoder_len)
        for kind in stack.pattern
    )
    return 2 * sum(map(math.prod, shapes)) * jnp.dtype(dtype).itemsize


def count_row_bytes(config: PriorConfig, dtype: jnp.dtype, num_shards: int = 1) -> int:
    """Returns the memory of a row while its window is sampled, in bytes.

    It is the sum of caches, conditions, noise, logits and codes.

    Args:
      num_shards: devices that share the caches, if they divide the heads; bytes are those of each.
    """
    stack = config.autoregressive.transformer
    conditions = (stack.seq_len + stack.encoder_len) * stack.emb_dim * jnp.dtype(dtype).itemsize
    values = (2 * NOISE_CHUNK + 4) * config.autoregressive.vocab_size + 2 * stack.seq_len
    caches = count_cache_bytes(config, dtype)
    if stack.num_heads % num_shards == 0:
        caches //= num_shards
    return caches + conditions + 4 * values


def count_pass_bytes(config: PriorConfig, dtype: jnp.dtype) -> int:
    """Estimates the memory of a row in a pass over its whole window.

    The largest of: a block's input, products and attention scores; the conditioner's convolutions.
    """
    stack, size = config.autoregressive.transformer, jnp.dtype(dtype).itemsize
    keys = max(count_keys(kind, stack.grid, stack.encoder_len) for kind in stack.pattern)
    scores = 4 * stack.num_heads * keys
    mlp = int(stack.emb_dim * stack.mlp_ratio)
    block = size * (4 * stack.emb_dim + 6 * stack.attn_dim + 2 * mlp) + 8 * stack.emb_dim + scores
    upper = 0 if config.upper is None else (size + 4) * (4 * config.upper.width + stack.emb_dim)
    return stack.seq_len * max(block, upper)


def fit_batch(
    config: PriorConfig,
    weights: Tree,
    dtype: jnp.dtype,
    memory_fraction: float,
    num_devices: int = 1,
    num_shards: int = 1,
) -> BatchBudget:
    """Returns the largest batch whose rows and weights fit into this share of a device.

    Each of `num_devices` devices (or groups of `num_shards`, which share the weights) has such a
    batch; on a CPU all share its memory.

    It depends on the total memory of the device, not on the free memory, so that a resumed command
    has the same batch. A batch that nevertheless does not fit is halved when it runs.

    On a CPU passes over whole windows are computed row by row: products of other shapes round
    differently, so that a row of a larger chunk would have other bits than in a batch of its own.
    A row alone is no slower there.

    Raises:
      ValueError: the fraction is not in (0, 1].
    """
    if not 0 < memory_fraction <= 1:
        raise ValueError(f"memory_fraction is {memory_fraction}, must be more than 0 and at most 1")
    device = jax.local_devices()[0]
    device_bytes, max_rows = usable_bytes(device), math.inf
    if device_bytes is None:
        return BatchBudget(1, 1)
    at_once = 1
    if device.platform == "cpu":
        at_once = min(CPU_BATCHES, os.cpu_count() or 1) if num_devices * num_shards == 1 else 1
        device_bytes /= num_devices * num_shards
        max_rows = -(-CPU_ROWS // num_devices)
    batch = divide_memory(
        (memory_fraction * device_bytes - bytes_by_device(weights)) / at_once,
        count_row_bytes(config, dtype, num_shards),
        count_pass_bytes(config, dtype),
        max_rows,
    )
    return BatchBudget(batch.rows, 1, at_once) if device.platform == "cpu" else batch


def divide_memory(
    available: float, row: int, whole_pass: int, max_rows: float = math.inf
) -> BatchBudget:
    """Divides `available` bytes among the rows of a batch and a pass over some of them.

    Args:
      row: bytes of each row.
      whole_pass: additional bytes of each row in a pass over whole windows.

    Returns:
      At least one row.
    """
    available /= SLACK
    rows = max(int(min((available - whole_pass) // row, max_rows)), 1)
    chunk = max(min(int((available - rows * row) // whole_pass), rows), 1)
    return BatchBudget(rows, chunk)
