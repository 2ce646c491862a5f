"""Stepping with compact caches equals the full pass, from every length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind, Grid, attend
from jukejax.ops.cache import Cache

GRIDS = [Grid(3, 4, spread=2, prime_len=6), Grid(4, 1, spread=1, prime_len=2)]
HEADS, HEAD_DIM, BATCH, ENCODER_LEN = 2, 3, 2, 4


@functools.partial(jax.jit, static_argnums=(0, 1))
def full_pass(kind, grid, q, k, v):
    return attend(kind, q, k, v, grid)[0]


def stack_position(kind, q, k, v, position):
    """Stacks what is new at a position: [B, 3, H, D]; queries only, [B, 1, H, D], for kind 6."""
    parts = (q,) if kind == AttentionKind.ENCODER_DECODER else (q, k, v)
    return jnp.stack([x[:, position] for x in parts], axis=1)


fill = jax.jit(caches.fill_cache, static_argnums=(0, 1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def step_through(kind, grid, cache, q, k, v, length):
    """Outputs [B, T, H, D] of positions from `length` on; earlier ones stay zero."""

    def body(position, carry):
        cache, outs = carry
        qkv = stack_position(kind, q, k, v, position)
        out, cache = caches.step_attention(kind, grid, cache, qkv, position)
        return cache, jax.lax.dynamic_update_index_in_dim(outs, out, position, 1)

    _, outs = jax.lax.fori_loop(length, q.shape[1], body, (cache, jnp.zeros_like(q)))
    return outs


def inputs(kind, grid):
    time = grid.num_rows * grid.block_len
    keys = ENCODER_LEN if kind == AttentionKind.ENCODER_DECODER else time
    rng = np.random.default_rng(0)
    shapes = [(BATCH, length, HEADS, HEAD_DIM) for length in (time, keys, keys)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.num_rows}x{grid.block_len}")
@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_stepping_from_every_prefix_equals_the_full_pass(kind, grid):
    """Prefixes: nothing, mid-row, a row's end, all but one; what lies behind them is garbage."""
    q, k, v = inputs(kind, grid)
    expected = np.asarray(full_pass(kind, grid, q, k, v))
    time = q.shape[1]
    for length in range(time):
        known_k, known_v = k.copy(), v.copy()
        if kind != AttentionKind.ENCODER_DECODER:
            known_k[:, length:] = known_v[:, length:] = 1e3
        cache = fill(kind, grid, known_k, known_v, np.int32(length))
        outs = np.asarray(step_through(kind, grid, cache, q, k, v, length))
        np.testing.assert_allclose(
            outs[:, length:], expected[:, length:], atol=1e-5, err_msg=f"from {length}"
        )


@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_an_empty_cache_of_the_given_shape_is_the_cache_of_nothing(kind):
    grid = GRIDS[0]
    q, k, v = inputs(kind, grid)
    shape = caches.cache_shape(kind, grid, BATCH, HEADS, HEAD_DIM, ENCODER_LEN)
    filled = fill(kind, grid, k, v, np.int32(0))
    assert filled.key.shape == filled.value.shape == shape
    if kind != AttentionKind.ENCODER_DECODER:  # its cache is never empty
        empty = Cache(*(np.zeros(shape, np.float32),) * 2)
        outs = step_through(kind, grid, empty, q, k, v, 0)
        np.testing.assert_allclose(outs, full_pass(kind, grid, q, k, v), atol=1e-5)


def test_caches_keep_no_more_than_later_positions_can_see():
    """The released upsampler's window: only kinds 0 and 2 keep all of it."""
    grid = Grid(128, 64, spread=8, prime_len=448)
    kept = {
        kind: np.prod(caches.cache_shape(kind, grid, 1, 1, 1, encoder_len=512))
        for kind in AttentionKind
    }
    assert kept == {
        AttentionKind.DENSE: 8192,
        AttentionKind.BLOCK: 64,
        AttentionKind.TRANSPOSED_BLOCK: 8192,
        AttentionKind.PREVIOUS_BLOCK: 128,
        AttentionKind.SUMMARY: 128,
        AttentionKind.SUMMARY_SPREAD: 1024,
        AttentionKind.ENCODER_DECODER: 512,
        AttentionKind.PRIME: 448,
    }


@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_a_cache_keeps_its_own_dtype(kind):
    """bfloat16 caches stay so when a step writes into them: a loop can carry them."""
    grid = GRIDS[0]
    parts = 1 if kind == AttentionKind.ENCODER_DECODER else 3
    x = jax.ShapeDtypeStruct((BATCH, parts, HEADS, HEAD_DIM), jnp.bfloat16)
    kept = caches.cache_shape(kind, grid, BATCH, HEADS, HEAD_DIM, ENCODER_LEN)
    cache = Cache(*(jax.ShapeDtypeStruct(kept, jnp.bfloat16),) * 2)
    position = jax.ShapeDtypeStruct((), jnp.int32)
    step = functools.partial(caches.step_attention, kind, grid)
    out, after = jax.eval_shape(step, cache, x, position)
    assert out.dtype == jnp.bfloat16
    assert after == cache
