"""Every way to attend against the dense reference under the mask that defines the kind.

Kernels for accelerators run step by step on the CPU (Pallas's interpret mode).
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.transformer_config import TransformerConfig
from jukejax.ops.attention import backends as attention_backends
from jukejax.ops.attention import pallas as attention_pallas
from jukejax.ops.attention import splash as attention_splash
from jukejax.ops.attention.kinds import AttentionKind, Grid

KINDS = [AttentionKind(kind) for kind in (0, 1, 2, 3, 7)]
BY_GRID = KINDS[1:4]
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}  # of the largest number of the reference


def normal(*shape, seed=0):
    """Returns normal numbers, drawn by NumPy: nothing to compile."""
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def check_backend(backend, kind, grid, dtype):
    """Checks output and gradients against the reference's in float32 on the same inputs."""
    batch, rows, block_len, heads, head_dim = grid
    shape = (batch, rows * block_len, heads, head_dim)
    inputs = [normal(*shape, seed=seed).astype(jnp.dtype(dtype)) for seed in range(4)]
    grid = Grid(rows, block_len, prime_len=min(100, rows * block_len - 1))

    def run(name, q, k, v, cotangent):
        def attend(q, k, v):
            return attention_backends.attend(name, kind, q, k, v, grid, interpret=True)

        out, pullback = jax.vjp(attend, q, k, v)
        return out, *pullback(cotangent)

    @jax.jit
    def both(*inputs):
        wide = [x.astype(jnp.float32) for x in inputs]
        return run(backend, *inputs), run("reference", *wide)

    ours, expected = jax.device_get(both(*inputs))
    for name, x, y in zip(("out", "grad q", "grad k", "grad v"), ours, expected, strict=True):
        assert x.dtype == dtype
        bound = TOLERANCE[dtype] * np.abs(y).max()
        np.testing.assert_allclose(x.astype(np.float32), y, rtol=0, atol=bound, err_msg=name)
    if kind == AttentionKind.PREVIOUS_BLOCK:
        np.testing.assert_array_equal(ours[0][:, :block_len].astype(np.float32), 0.0)


# batch, rows, block_len, heads, head_dim
SMALL = {"float32": (2, 5, 6, 2, 32), "bfloat16": (1, 4, 17, 1, 150)}
LANES = {"float32": (2, 4, 64, 2, 32), "bfloat16": (1, 2, 64, 1, 150)}  # whole blocks of 128


def half_by_default(combinations):
    """Marks every second of some combinations as slow: parameters with readable ids."""
    return [
        pytest.param(
            *values,
            id="-".join(str(getattr(value, "name", value)) for value in values),
            marks=pytest.mark.slow if number % 2 else (),
        )
        for number, values in enumerate(combinations)
    ]


# Every second combination has each backend with each kind and with each type.
BATCHED = [
    (backend, kind, dtype) for backend in ("xla", "dense") for dtype in SMALL for kind in KINDS
]


@pytest.mark.parametrize(("backend", "kind", "dtype"), half_by_default(BATCHED))
def test_batched_products_equal_the_reference(backend, kind, dtype):
    check_backend(backend, kind, SMALL[dtype], dtype)


@pytest.mark.parametrize(
    ("kind", "dtype"), half_by_default([(kind, dtype) for dtype in SMALL for kind in BY_GRID])
)
def test_the_fused_kernel_equals_the_reference(kind, dtype):
    check_backend("pallas", kind, SMALL[dtype], dtype)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(kind, ("float32", "bfloat16")[i % 2]) for i, kind in enumerate(KINDS)]
)
def test_the_block_sparse_kernel_equals_the_reference(kind, dtype):
    check_backend("splash", kind, LANES[dtype], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("grid", [(8, 2, 64, 1, 64), (1, 3, 128, 2, 256), (2, 2, 64, 1, 480)])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("backend", ["xla", "dense", "pallas", "splash"])
def test_every_backend_at_released_head_sizes(backend, kind, grid, dtype):
    if backend == "pallas" and kind not in BY_GRID:
        pytest.skip("kinds 0 and 7 are not cut into rows")
    check_backend(backend, kind, grid, dtype)


@pytest.mark.parametrize("backend", ["xla", "dense", "pallas"])
def test_rows_that_do_not_divide_the_sequence_are_refused(backend):
    x = jnp.ones((1, 10, 1, 4))
    with pytest.raises(ValueError, match="10 positions do not fill rows of 4"):
        attention_backends.attend(backend, AttentionKind.BLOCK, x, x, x, Grid(2, 4), interpret=True)


@pytest.mark.parametrize(
    ("backend", "kind", "reason"),
    [
        ("pallas", 1, "it is for GPUs, and this is"),
        ("splash", 1, "it is for TPUs, and this is"),
        ("dense", 4, "kind 4 has a mask of its own"),
    ],
)
def test_a_backend_that_cannot_run_says_why_once_and_xla_runs(backend, kind, reason):
    x = normal(1, 8, 1, 4)

    def attend(name):
        return jax.jit(
            lambda x: attention_backends.attend(name, AttentionKind(kind), x, x, x, Grid(2, 4))
        )(x)

    attention_backends._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, out = (attend(backend) for _ in range(2))
    (warning,) = caught
    assert reason in str(warning.message)
    np.testing.assert_array_equal(out, attend("xla"))


def described(kind, platform="gpu"):
    """Traces for a device that is not here."""
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=1, platform=platform)
    mesh = jax.sharding.AbstractMesh(
        (1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), abstract_device=device
    )
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        ("Tesla V100-SXM2-16GB", "float16", "needs compute capability 8.0, and Tesla V100"),
        ("NVIDIA H200", "float32", "is for float16 and bfloat16, and this is float32"),
        ("NVIDIA H200", "bfloat16", None),
    ],
)
def test_the_fused_kernel_knows_its_devices(device, dtype, reason):
    q = jax.ShapeDtypeStruct((1, 256, 1, 480), dtype)
    with described(device):
        found = attention_backends.find_refusal("pallas", AttentionKind.BLOCK, q, block_len=64)
    assert found is None if reason is None else reason in found


def test_long_rows_and_odd_sequences_are_left_to_xla():
    long = attention_pallas.find_refusal(AttentionKind.BLOCK, rows=4, block_len=256, head_dim=64)
    assert "256 positions exceed 128" in long
    column = attention_pallas.find_refusal(
        AttentionKind.TRANSPOSED_BLOCK, rows=4, block_len=256, head_dim=64
    )
    assert column is None
    assert "200 is no multiple of 128" in attention_splash.find_refusal(
        AttentionKind.BLOCK, seq_len=200
    )


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="attention is 'flash'; known: auto, reference, xla"):
        TransformerConfig(
            emb_dim=8, num_layers=1, num_heads=1, seq_len=4, num_blocks=2, attention="flash"
        )
