"""Factorized attention as one fused GPU kernel for each direction: the `pallas` backend.

A program of the kernel takes one head of one row (or column): it reads its queries, keys and values
in place from [B, T, H, D], holds the whole [Q, S] of scores in registers in float32, and writes the
outputs; the scores never reach memory. Heads of up to 480 features do not fit at
once, so products run over chunks of features. The backward pass computes the scores again, from
the sum that the forward pass kept for each query, and needs no atomics: a key belongs to one row.

It is lowered through Triton (compute capability 8.0 or newer), whose blocks have sizes that are
powers of two: shorter rows are masked, and chunks are of 64, 32 or 16 features.

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
        return f"kind {int(kind)} is not cut into rows or columns"
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
    wide = -width % 16  # features that a chunk has too many
    pad = ((0, 0),) * 4 + ((0, wide),)
    q, k, v = (x.reshape(grid) for x in (q, k, v))
    if wide:
        q, k, v = (jnp.pad(x, pad) for x in (q, k, v))
    out = _attend(kind, width**-0.5, interpret, q, k, v)[..., :width]
    return out.reshape(out.shape[0], -1, *out.shape[3:])


# -- The kernels -------------------------------------------------------------------------------


def _chunk(width: int) -> int:
    return next(size for size in (64, 32, 16) if width % size == 0)


def _block(length: int) -> int:
    """Positions of a block: a power of two, 16 or more for the tensor cores."""
    return max(16, pl.next_power_of_2(length))


def _read(ref, length: int, start, chunk: int) -> jax.Array:
    """`chunk` features of all positions, zeros beyond `length`: [block, chunk]."""
    inside = (jnp.arange(_block(length)) < length)[:, None]
    part = ref.at[pl.ds(0, _block(length)), pl.ds(start, chunk)]
    return plgpu.load(part, mask=jnp.broadcast_to(inside, part.shape), other=0.0)


def _write(ref, length: int, start, value: jax.Array) -> None:
    inside = (jnp.arange(_block(length)) < length)[:, None]
    part = ref.at[pl.ds(0, _block(length)), pl.ds(start, value.shape[1])]
    plgpu.store(part, value.astype(ref.dtype), mask=jnp.broadcast_to(inside, part.shape))


def _row(ref, length: int) -> jax.Array:
    """One float32 a position, zeros beyond `length`: [block]."""
    part = ref.at[pl.ds(0, _block(length))]
    return plgpu.load(part, mask=jnp.arange(_block(length)) < length, other=0.0)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    # TF32 would not be float32; for halves the precision means nothing
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jax.lax.dot(x, y, precision=precision, preferred_element_type=jnp.float32)


def _pairs(left, right, length: int) -> jax.Array:
    """Products of all positions of two refs, summed over features: float32 [block, block]."""
    width = left.shape[-1]
    chunk = _chunk(width)

    def add(index, total):
        x, y = (_read(ref, length, index * chunk, chunk) for ref in (left, right))
        return total + _dot(x, y.T)

    zeros = jnp.zeros((_block(length), _block(length)), jnp.float32)
    return jax.lax.fori_loop(0, width // chunk, add, zeros)


def _scores(q_ref, k_ref, length: int, kind: AttentionKind, scale: float) -> jax.Array:
    scores = scale * _pairs(q_ref, k_ref, length)
    query = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    key = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    seen = key < length if kind == _PREVIOUS else (key <= query) & (key < length)
    return jnp.where(seen, scores, MASKED)


def _blank(kind: AttentionKind) -> jax.Array:
    """1, but 0 in the one program of kind 3 whose keys no query sees (see `_specs`)."""
    if kind != _PREVIOUS:
        return jnp.float32(1.0)
    return (pl.program_id(1) < pl.num_programs(1) - 1).astype(jnp.float32)


def _forward_kernel(q_ref, k_ref, v_ref, out_ref, log_ref, *, kind, length, scale):
    scores = _scores(q_ref, k_ref, length, kind, scale)
    max_score = scores.max(axis=1)
    exp_scores = jnp.exp(scores - max_score[:, None])
    denom = exp_scores.sum(axis=1)
    inv_denom = _blank(kind) / denom
    inside = jnp.arange(_block(length)) < length
    plgpu.store(log_ref.at[pl.ds(0, _block(length))], max_score + jnp.log(denom), mask=inside)
    exp_scores = exp_scores.astype(v_ref.dtype)
    chunk = _chunk(v_ref.shape[-1])

    def features(index, _):
        value = _read(v_ref, length, index * chunk, chunk)
        _write(out_ref, length, index * chunk, _dot(exp_scores, value) * inv_denom[:, None])

    jax.lax.fori_loop(0, v_ref.shape[-1] // chunk, features, None)


def _backward_kernel(*refs, kind, length, scale):
    q_ref, k_ref, v_ref, log_ref, delta_ref, dout_ref, dq_ref, dk_ref, dv_ref = refs
    scores = _scores(q_ref, k_ref, length, kind, scale)
    probs = jnp.exp(scores - _row(log_ref, length)[:, None]) * _blank(kind)
    # Beyond `length` the saved sum is read as 0: such a query must have no weight.
    query = jax.lax.broadcasted_iota(jnp.int32, probs.shape, 0)
    probs = jnp.where(query < length, probs, 0.0)
    dscores = _pairs(dout_ref, v_ref, length) - _row(delta_ref, length)[:, None]
    dscores = (scale * probs * dscores).astype(q_ref.dtype)
    probs = probs.astype(q_ref.dtype)
    chunk = _chunk(v_ref.shape[-1])

    def features(index, _):
        start = index * chunk
        q, k, dout = (_read(ref, length, start, chunk) for ref in (q_ref, k_ref, dout_ref))
        _write(dq_ref, length, start, _dot(dscores, k))
        _write(dk_ref, length, start, _dot(dscores.T, q))
        _write(dv_ref, length, start, _dot(probs.T, dout))

    jax.lax.fori_loop(0, v_ref.shape[-1] // chunk, features, None)


# -- Where a program's arrays lie --------------------------------------------------------------


def _specs(kind: AttentionKind, rows: int, block_len: int, width: int):
    """Blocks of queries, of keys, of a number a query, of arrays [B, R, L, H, D] and [B, R, L, H].

    Program (b, g, h) has row or column g. Of kind 3 it has the keys of row g and the queries of the
    next; the last has row 0's queries, which see nothing, so that each row is written once.
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


def _call(kernel, kind, scale, interpret, q, inputs: str, outputs: str):
    """`kernel` for each row or column and head; q, k and n name the blocks of `_specs`."""
    batch, rows, block_len, heads, width = q.shape
    blocks = dict(zip("qkn", _specs(kind, rows, block_len, width), strict=True))
    wide = jax.ShapeDtypeStruct(q.shape, q.dtype)
    number = jax.ShapeDtypeStruct(q.shape[:-1], jnp.float32)
    groups, length = (block_len, rows) if kind == _COLUMN else (rows, block_len)
    return pl.pallas_call(
        functools.partial(kernel, kind=kind, length=length, scale=scale),
        grid=(batch, groups, heads),
        in_specs=[blocks[name] for name in inputs],
        out_specs=[blocks[name] for name in outputs],
        out_shape=[number if name == "n" else wide for name in outputs],
        compiler_params=plgpu.CompilerParams(num_warps=8 if length > 64 else 4, num_stages=2),
        interpret=interpret,
        name=f"attention_{kind.name.lower()}",
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attend(kind, scale, interpret, q, k, v):
    """[B, R, L, H, D] to the same."""
    return _forward(kind, scale, interpret, q, k, v)[0]


def _forward(kind, scale, interpret, q, k, v):
    out, log = _call(_forward_kernel, kind, scale, interpret, q, "qkk", "qn")(q, k, v)
    return out, (q, k, v, out, log)


def _backward(kind, scale, interpret, residuals, dout):
    q, k, v, out, log = residuals
    delta = (dout.astype(jnp.float32) * out.astype(jnp.float32)).sum(axis=-1)
    run = _call(_backward_kernel, kind, scale, interpret, q, "qkknnq", "qkk")
    return tuple(run(q, k, v, log, delta, dout))


_attend.defvjp(_forward, _backward)
