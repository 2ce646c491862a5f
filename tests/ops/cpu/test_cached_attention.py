"""The compiled step of attention against its plain definition, and that it copies no cache."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops import cache as caches
from jukejax.ops.attention.kinds import AttentionKind, Grid
from jukejax.ops.cache import Cache
from jukejax.ops.cpu import cached_attention
from jukejax.ops.cpu.switch import disable_cpu_kernels

COMPILED = cached_attention  # what `needs_compiled` asks for
pytestmark = pytest.mark.usefixtures("needs_compiled")

# Rows and columns around the size of vectors (8, 16).
GRIDS = [Grid(3, 20, spread=3, prime_len=17), Grid(17, 2, spread=1, prime_len=5)]
ENCODER_LEN = 19
# Sequences, heads and their sizes, around the same and around the sums of 8 vectors.
SHAPES = [(1, 1, 1), (3, 2, 3), (1, 3, 16), (2, 1, 23), (5, 2, 48), (2, 1, 150)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def step(kind, grid, cache, qkv, position):
    return caches.step_attention(kind, grid, cache, qkv, position)


def make_inputs(kind, grid, shape, dtype=np.float32):
    batch, heads, dim = shape
    rng = np.random.default_rng(shape)
    size = caches.cache_shape(kind, grid, batch, heads, dim, ENCODER_LEN)
    cache = Cache(*rng.normal(size=(2, *size)).astype(dtype))
    parts = 1 if kind == AttentionKind.ENCODER_DECODER else 3
    return cache, rng.normal(size=(batch, parts, heads, dim)).astype(np.float32)


def positions_of(grid):
    """Returns the ends of the first and the last rows, and positions in the middle of rows."""
    last = grid.num_rows * grid.block_len - 1
    return sorted(
        {0, 1, grid.block_len - 1, grid.block_len, last // 2, last - grid.block_len, last}
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.num_rows}x{grid.block_len}")
@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_steps_equal_the_plain_definition(kind, grid, shape, dtype):
    cache, qkv = make_inputs(kind, grid, shape, dtype)
    # The plain definition does not round the new position, and rounds probabilities.
    tolerance = 1e-5 if dtype == np.float32 else 4e-3
    for position in map(np.int32, positions_of(grid)):
        assert cached_attention.TARGET in step.lower(kind, grid, cache, qkv, position).as_text()
        out, after = step(kind, grid, cache, qkv, position)
        with disable_cpu_kernels():
            expected, expected_after = step(kind, grid, cache, qkv, position)
        np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
        for new, expected_new in zip(after, expected_after, strict=True):
            assert new.dtype == dtype
            np.testing.assert_allclose(
                new, expected_new, rtol=1e-6 if dtype == np.float32 else 1e-3
            )


def test_what_is_not_visible_does_not_matter():
    """Slots behind the position may have any values, also those beyond whole vectors."""
    grid = Grid(2, 40)
    for size in (16, 5):
        cache, qkv = make_inputs(AttentionKind.BLOCK, grid, (2, 2, size))
        for position in range(40):
            hidden = Cache(*(x.copy() for x in cache))
            for x in hidden:
                x[:, :, position + 1 :] = np.nan
            for other in (cache, hidden):
                other.key[:, :, position] = other.value[:, :, position] = np.nan
            out, _ = step(AttentionKind.BLOCK, grid, hidden, qkv, np.int32(position))
            expected, after = step(AttentionKind.BLOCK, grid, cache, qkv, np.int32(position))
            np.testing.assert_array_equal(out, expected)
            assert np.isfinite(out).all()
            cache = Cache(*map(np.array, after))


def test_scores_of_any_size_give_probabilities():
    grid = Grid(1, 32)
    for factor in (1e-20, 30.0, 1e4):
        cache, qkv = make_inputs(AttentionKind.DENSE, grid, (2, 1, 16))
        cache, qkv = Cache(cache.key * np.float32(factor), cache.value), qkv * np.float32(factor)
        out, _ = step(AttentionKind.DENSE, grid, cache, qkv, np.int32(20))
        with disable_cpu_kernels():
            expected, _ = step(AttentionKind.DENSE, grid, cache, qkv, np.int32(20))
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_a_head_has_the_same_bits_in_every_batch(kind, dtype):
    cache, qkv = make_inputs(kind, GRIDS[0], (9, 2, 20), dtype)
    position = np.int32(45)
    together, _ = step(kind, GRIDS[0], cache, qkv, position)
    for first, last in ((0, 1), (2, 5), (5, 9)):
        part = Cache(*(x[first:last] for x in cache))
        alone, _ = step(kind, GRIDS[0], part, qkv[first:last], position)
        np.testing.assert_array_equal(alone, together[first:last])


@pytest.mark.parametrize("kind", AttentionKind, ids=lambda kind: kind.name)
def test_a_loop_updates_the_cache_in_place(kind):
    grid = GRIDS[0]
    cache, qkv = make_inputs(kind, grid, (2, 2, 16))

    def loop(cache, qkv):
        def body(position, carry):
            cache, total = carry
            out, cache = caches.step_attention(kind, grid, cache, qkv + total, position)
            return cache, total + out.sum()

        return jax.lax.fori_loop(0, 60, body, (cache, jnp.float32(0)))

    text = jax.jit(loop, donate_argnums=0).lower(cache, qkv).compile().as_text()
    shape = "f32[" + ",".join(map(str, cache.key.shape)) + "]"
    assert shape in text
    copies = re.findall(rf"= {re.escape(shape)}\S* (?:copy|fusion|dynamic-update-slice)\(", text)
    assert not copies


def test_other_types_use_the_plain_definition():
    grid, kind = GRIDS[0], AttentionKind.BLOCK
    cache, qkv = make_inputs(kind, grid, (2, 2, 16))
    cache = Cache(*(x.astype(jnp.bfloat16) for x in cache))
    text = step.lower(kind, grid, cache, qkv.astype(jnp.bfloat16), np.int32(3)).as_text()
    assert cached_attention.TARGET not in text


@pytest.mark.parametrize("slots", [(1, 0, 0, 1), (0, 8, 0, 1), (0, 0, -1, 1), (0, 0, 0, 9)])
def test_slots_outside_the_cache_are_refused(slots):
    cache, qkv = np.zeros((1, 1, 8, 4), np.float32), np.zeros((1, 3, 1, 4), np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a slot is outside the cache"):
        jax.block_until_ready(cached_attention.step(qkv, cache, cache, np.array(slots, np.int32)))
