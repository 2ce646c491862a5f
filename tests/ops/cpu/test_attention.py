"""The compiled attention of CPUs against the dense reference, and when it is used."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.block import Block
from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention import backends as attention_backends
from jukejax.ops.attention.kinds import AttentionKind, Grid
from jukejax.ops.cpu import attention as cpu_attention
from jukejax.ops.cpu.switch import disable_cpu_kernels
from tests.ops.attention.test_backends import BY_GRID, check_backend, normal

COMPILED = cpu_attention  # what `needs_compiled` asks for


# batch, rows, block_len, heads, head_dim
GRIDS = [(2, 16, 16, 2, 16), (1, 32, 48, 3, 32), (3, 48, 16, 1, 48), (1, 16, 80, 2, 480)]


# By default each grid and each kind, and each kind with several rows a batch or heads.
COVERING = {(0, 0), (1, 1), (2, 2), (3, 0)}


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(
    ("kind", "grid"),
    [
        pytest.param(
            kind,
            grid,
            marks=() if (row, column) in COVERING else pytest.mark.slow,
            id=str((kind.name, grid)),
        )
        for row, grid in enumerate(GRIDS)
        for column, kind in enumerate(BY_GRID)
    ],
)
def test_equals_the_reference(kind, grid):
    assert refusal(kind, grid) is None
    check_backend("native", kind, grid, "float32")


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.slow
@pytest.mark.parametrize(
    "grid", [(1, 128, 64, 1, 480), (1, 64, 96, 2, 256), (4, 16, 256, 2, 64), (1, 32, 512, 1, 16)]
)
@pytest.mark.parametrize("kind", BY_GRID, ids=lambda kind: kind.name)
def test_equals_the_reference_at_released_sizes(kind, grid):
    check_backend("native", kind, grid, "float32")


def queries(grid, dtype=jnp.float32):
    batch, rows, block_len, heads, head_dim = grid
    return jax.ShapeDtypeStruct((batch, rows * block_len, heads, head_dim), dtype)


def refusal(kind, grid, dtype=jnp.float32):
    return attention_backends.find_refusal("native", kind, queries(grid, dtype), block_len=grid[2])


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(
    ("kind", "grid", "dtype", "reason"),
    [
        (0, (1, 16, 16, 1, 16), jnp.float32, "for kinds 1 to 3, and this is kind 0"),
        (1, (1, 16, 16, 1, 16), jnp.bfloat16, "for float32, and this is bfloat16"),
        (1, (1, 16, 24, 1, 16), jnp.float32, "these have 24"),
        (2, (1, 24, 16, 1, 16), jnp.float32, "these have 24"),
        (3, (1, 16, 528, 1, 16), jnp.float32, "these have 528"),
        (1, (1, 16, 16, 1, 20), jnp.float32, "these have 20"),
    ],
)
def test_what_it_cannot_do_is_said_and_left_to_xla(kind, grid, dtype, reason):
    assert reason in refusal(AttentionKind(kind), grid, dtype)
    chosen = attention_backends.select_backend(
        "auto", AttentionKind(kind), queries(grid, dtype), block_len=grid[2]
    )
    assert chosen == "xla"


@pytest.mark.usefixtures("needs_compiled")
def test_auto_takes_it_on_one_cpu_only():
    def chosen():
        grid = GRIDS[0]
        return attention_backends.select_backend(
            "auto", AttentionKind.BLOCK, queries(grid), block_len=grid[2]
        )

    assert chosen() == "native"
    with disable_cpu_kernels():
        assert chosen() == "xla"
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2,), ("x",))):
        assert chosen() == "xla"


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("kind", BY_GRID, ids=lambda kind: kind.name)
def test_a_block_gives_the_same_with_it(kind, key):
    config = TransformerConfig(
        seq_len=512, emb_dim=128, num_layers=1, num_heads=2, num_blocks=16, attn_order=0
    )
    x, params = normal(2, 512, 128), None
    results = []
    for backend in ("native", "xla"):
        block = Block(dataclasses.replace(config, attention=backend), kind)
        params = params or jax.jit(block.init)(key(), x)
        gradient = jax.jit(jax.value_and_grad(lambda p, b=block: (b.apply(p, x) ** 2).sum()))
        results.append(gradient(params))
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("kind", BY_GRID, ids=lambda kind: kind.name)
def test_gives_the_same_bits_each_time(kind):
    qkv = normal(2, 256, 3, 2, 16)

    @jax.jit
    def work(qkv):
        return jax.value_and_grad(
            lambda qkv: (cpu_attention.attend_packed(kind, qkv, 16) ** 2).sum()
        )(qkv)

    first = work(qkv)
    for _ in range(10):
        jax.tree.map(np.testing.assert_array_equal, first, work(qkv))


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_seen_by_those_who_attend_to_it(bad):
    qkv = normal(1, 256, 3, 1, 16)
    qkv[0, 20, 1, 0, 3] = bad  # a key of row 1, seen from positions 20 to 31
    attend = jax.jit(cpu_attention.attend_packed, static_argnums=(0, 2))
    out = attend(AttentionKind.BLOCK, qkv, 16)
    lost = ~np.isfinite(np.asarray(out)).all(axis=(0, 2, 3))
    assert set(np.flatnonzero(lost)) <= set(range(20, 32))
    assert lost[20:32].any()
    if np.isnan(bad):
        assert lost[20:32].all()


@pytest.mark.usefixtures("needs_compiled")
def test_scores_of_any_size_do_not_overflow():
    qkv = 1e3 * normal(1, 256, 3, 1, 16)
    for kind in BY_GRID:
        run = jax.jit(
            lambda qkv, kind=kind: (
                cpu_attention.attend_packed(kind, qkv, 16),
                attention_backends.attend(
                    "xla", kind, *(qkv[:, :, part] for part in range(3)), Grid(16, 16)
                ),
            )
        )
        out, xla = run(qkv)
        np.testing.assert_allclose(out, xla, rtol=1e-3, atol=1.0)
