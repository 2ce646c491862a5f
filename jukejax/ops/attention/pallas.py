"""Factorized attention as one fused GPU kernel for each direction: the `pallas` backend.

A program of the kernel computes one head of one row (or column): it loads queries, keys and values
from [B, T, H, D] without a transpose, holds all scores [Q, S] in registers in float32, and stores
the outputs; scores are never written to memory. Heads of up to 480 features exceed the registers,
so that products are computed in chunks of features. The backward pass recomputes the scores from
the log of each query's softmax denominator, and needs no atomics: each key belongs to one row.

The kernel is lowered through Triton (compute capability 8.0 or newer), whose blocks have sizes that
are powers of two: shorter rows are masked, and chunks have 64, 32 or 16 features.

Dimensions as in ops/attention/groups.py.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jukejax.ops.attention import groups as attention_groups
from jukejax.ops.attention.kinds import MASKED, AttentionKind

LONGEST = 128  # positions of a row or column: two float32 [128, 128] fill half of the registers
_PREVIOUS, _COLUMN = AttentionKind.PREVIOUS_BLOCK, AttentionKind.TRANSPOSED_BLOCK


def find_refusal(kind: AttentionKind, *, rows: int, block_len: int, head_dim: int) -> str | None:
    """Returns why this kernel cannot run such a layer; None if it can."""
    if kind not in attention_groups.BY_GRID:
        return f"kind {int(kind)} is not divided into rows or columns"
    length = rows if kind == _COLUMN else block_len
    if length > LONGEST:
        return f"rows or columns of {length} positions exceed {LONGEST}"
    if head_dim % 2:
        return f"a head of {head_dim} features is odd"
    return None


def attend(
    kind: AttentionKind,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    block_len: int,
    interpret: bool = False,
) -> jax.Array:
    """Computes attention of kinds 1 to 3, as `xla.attend`: [B, T, H, D] in q's dtype.

    Args:
      interpret: run on a CPU, for tests.
    """
    attention_groups.check_rows(kind, q.shape[1], block_len)
    grid = (q.shape[0], -1, block_len, *q.shape[2:])  # [B, R, L, H, D]
    width = q.shape[-1]
    padding = -width % 16  # a chunk has at least 16 features
    pad = ((0, 0),) * 4 + ((0, padding),)
    q, k, v = (x.reshape(grid) for x in (q, k, v))
    if padding:
        q, k, v = (jnp.pad(x, pad) for x in (q, k, v))
    out = _attend(kind, width**-0.5, interpret, q, k, v)[..., :width]
    return out.reshape(out.shape[0], -1, *out.shape[3:])


# -- The kernels -------------------------------------------------------------------------------


def _chunk_size(width: int) -> int:
    return next(size for size in (64, 32, 16) if width % size == 0)


def _block_size(length: int) -> int:
    """Returns the positions of a block: a power of two, at least 16 for the tensor cores."""
    return max(16, pl.next_power_of_2(length))


def _load_chunk(ref, length: int, start, chunk: int) -> jax.Array:
    """Loads `chunk` features of all positions, zeros beyond `length`: [block, chunk]."""
    inside = (jnp.arange(_block_size(length)) < length)[:, None]
    block_ref = ref.at[pl.ds(0, _block_size(length)), pl.ds(start, chunk)]
    return plgpu.load(block_ref, mask=jnp.broadcast_to(inside, block_ref.shape), other=0.0)


def _store_chunk(ref, length: int, start, value: jax.Array) -> None:
    """Stores features of the positions below `length`, from feature `start` on."""
    inside = (jnp.arange(_block_size(length)) < length)[:, None]
    block_ref = ref.at[pl.ds(0, _block_size(length)), pl.ds(start, value.shape[1])]
    plgpu.store(block_ref, value.astype(ref.dtype), mask=jnp.broadcast_to(inside, block_ref.shape))


def _load_row(ref, length: int) -> jax.Array:
    """Loads one float32 for each position, zeros beyond `length`: [block]."""
    block_ref = ref.at[pl.ds(0, _block_size(length))]
    return plgpu.load(block_ref, mask=jnp.arange(_block_size(length)) < length, other=0.0)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    # float32 without TF32; the precision has no effect on 16-bit types
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jax.lax.dot(x, y, precision=precision, preferred_element_type=jnp.float32)


def _multiply_pairs(left, right, length: int) -> jax.Array:
    """Computes the products of all pairs of positions, float32 [block, block]."""
    width = left.shape[-1]
    chunk = _chunk_size(width)

    def add(index, total):
        x, y = (_load_chunk(ref, length, index * chunk, chunk) for ref in (left, right))
        return total + _dot(x, y.T)

    zeros = jnp.zeros((_block_size(length), _block_size(length)), jnp.float32)
    return jax.lax.fori_loop(0, width // chunk, add, zeros)


def _scores(q_ref, k_ref, length: int, kind: AttentionKind, scale: float) -> jax.Array:
    scores = scale * _multiply_pairs(q_ref, k_ref, length)
    query = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    key = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    is_visible = key < length if kind == _PREVIOUS else (key <= query) & (key < length)
    return jnp.where(is_visible, scores, MASKED)


def _program_weight(kind: AttentionKind) -> jax.Array:
    """Returns 0 in the program of kind 3 whose keys have no query (see `_block_specs`), else 1."""
    if kind != _PREVIOUS:
        return jnp.float32(1.0)
    return (pl.program_id(1) < pl.num_programs(1) - 1).astype(jnp.float32)


def _forward_kernel(q_ref, k_ref, v_ref, out_ref, log_ref, *, kind, length, scale):
    scores = _scores(q_ref, k_ref, length, kind, scale)
    max_score = scores.max(axis=1)
    exp_scores = jnp.exp(scores - max_score[:, None])
    denom = exp_scores.sum(axis=1)
    inv_denom = _program_weight(kind) / denom
    inside = jnp.arange(_block_size(length)) < length
    plgpu.store(log_ref.at[pl.ds(0, _block_size(length))], max_score + jnp.log(denom), mask=inside)
    exp_scores = exp_scores.astype(v_ref.dtype)
    chunk = _chunk_size(v_ref.shape[-1])

    def store_features(index, _):
        value = _load_chunk(v_ref, length, index * chunk, chunk)
        _store_chunk(out_ref, length, index * chunk, _dot(exp_scores, value) * inv_denom[:, None])

    jax.lax.fori_loop(0, v_ref.shape[-1] // chunk, store_features, None)


def _backward_kernel(*refs, kind, length, scale):
    q_ref, k_ref, v_ref, log_ref, delta_ref, dout_ref, dq_ref, dk_ref, dv_ref = refs
    scores = _scores(q_ref, k_ref, length, kind, scale)
    probs = jnp.exp(scores - _load_row(log_ref, length)[:, None]) * _program_weight(kind)
    # Beyond `length` the log of the denominator is loaded as 0, and the probabilities are masked.
    query = jax.lax.broadcasted_iota(jnp.int32, probs.shape, 0)
    probs = jnp.where(query < length, probs, 0.0)
    dscores = _multiply_pairs(dout_ref, v_ref, length) - _load_row(delta_ref, length)[:, None]
    dscores = (scale * probs * dscores).astype(q_ref.dtype)
    probs = probs.astype(q_ref.dtype)
    chunk = _chunk_size(v_ref.shape[-1])

    def store_features(index, _):
        start = index * chunk
        q, k, dout = (_load_chunk(ref, length, start, chunk) for ref in (q_ref, k_ref, dout_ref))
        _store_chunk(dq_ref, length, start, _dot(dscores, k))
        _store_chunk(dk_ref, length, start, _dot(dscores.T, q))
        _store_chunk(dv_ref, length, start, _dot(probs.T, dout))

    jax.lax.fori_loop(0, v_ref.shape[-1] // chunk, store_features, None)


# -- Blocks of a program -----------------------------------------------------------------------


def _block_specs(kind: AttentionKind, rows: int, block_len: int, width: int):
    """Returns the block specs of queries and keys [B, R, L, H, D], and of [B, R, L, H] by query.

    Program (b, g, h) has row or column g. For kind 3 it has the keys of row g and the queries of
    the next row. The last program has the queries of row 0, which attend to no key, so that each
    row is stored once.
    """
    if kind == _COLUMN:
        column = pl.BlockSpec((None, rows, None, None, width), lambda b, g, h: (b, 0, g, h, 0))
        number = pl.BlockSpec((None, rows, None, None), lambda b, g, h: (b, 0, g, h))
        return column, column, number

    def query(g):
        return jax.lax.rem(g + 1, rows) if kind == _PREVIOUS else g

    shape = (None, None, block_len, None, width)
    return (
        pl.BlockSpec(shape, lambda b, g, h: (b, query(g), 0, h, 0)),
        pl.BlockSpec(shape, lambda b, g, h: (b, g, 0, h, 0)),
        pl.BlockSpec(shape[:-1], lambda b, g, h: (b, query(g), 0, h)),
    )


def _make_call(kernel, kind, scale, interpret, q, inputs: str, outputs: str):
    """Returns the call of a kernel for each row or column and head.

    Args:
      inputs, outputs: a letter for each array: q, k and n are the blocks of `_block_specs`.
    """
    batch, rows, block_len, heads, width = q.shape
    blocks = dict(zip("qkn", _block_specs(kind, rows, block_len, width), strict=True))
    array_shape = jax.ShapeDtypeStruct(q.shape, q.dtype)
    number_shape = jax.ShapeDtypeStruct(q.shape[:-1], jnp.float32)
    groups, length = (block_len, rows) if kind == _COLUMN else (rows, block_len)
    return pl.pallas_call(
        functools.partial(kernel, kind=kind, length=length, scale=scale),
        grid=(batch, groups, heads),
        in_specs=[blocks[name] for name in inputs],
        out_specs=[blocks[name] for name in outputs],
        out_shape=[number_shape if name == "n" else array_shape for name in outputs],
        compiler_params=plgpu.CompilerParams(num_warps=8 if length > 64 else 4, num_stages=2),
        interpret=interpret,
        name=f"attention_{kind.name.lower()}",
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attend(kind, scale, interpret, q, k, v):
    """Computes attention of [B, R, L, H, D] to the same shape."""
    return _forward(kind, scale, interpret, q, k, v)[0]


def _forward(kind, scale, interpret, q, k, v):
    out, log = _make_call(_forward_kernel, kind, scale, interpret, q, "qkk", "qn")(q, k, v)
    return out, (q, k, v, out, log)


def _backward(kind, scale, interpret, residuals, dout):
    q, k, v, out, log = residuals
    delta = (dout.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)
    run = _make_call(_backward_kernel, kind, scale, interpret, q, "qkknnq", "qkk")
    return tuple(run(q, k, v, log, delta, dout))


_attend.defvjp(_forward, _backward)
