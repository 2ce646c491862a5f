"""Vector quantisation with a codebook learnt by moving averages (Jukebox, section 3.1).

Everything here is pure: the codebook's state goes in and comes out, and each random draw can be
handed in, so that any step can be reproduced. The rows are those of the whole batch; under jit over
a mesh they may be sharded, and sums and draws are still the batch's, the same on every device.
Letters: N rows (batch x time), K codes, E features of a code.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

INIT_NOISE = 0.01  # standard deviation of the noise on repeated rows, times sqrt(E)
# Distances decide between close codes: no TF32 or bfloat16 products here.
_PRECISION = lax.Precision.HIGHEST
_PIECE = 1024  # positions whose distances to all codes exist at once


class Codebook(NamedTuple):
    """A codebook and the moving averages behind it, all float32 but the flag.

    Attributes:
      codebook: [K, E] code vectors.
      codebook_sum: [K, E] moving average of the sum of the rows that chose each code.
      codebook_count: [K] moving average of their number.
      initialised: [] bool; False until the first training batch.
    """

    codebook: jax.Array
    codebook_sum: jax.Array
    codebook_count: jax.Array
    initialised: jax.Array


class Quantised(NamedTuple):
    """What quantising a batch gives.

    Attributes:
      codes: int32 [B, T].
      vectors: [B, T, E] code vectors; gradients pass straight through to the input.
      commit: [] mean squared distance to the codes, whose gradient pulls the input.
      fit: [] mean squared distance of a row to its code (summed over E).
      pn: [] standard deviation of all the input's entries.
    """

    codes: jax.Array
    vectors: jax.Array
    commit: jax.Array
    fit: jax.Array
    pn: jax.Array


class Draw(NamedTuple):
    """The random numbers behind a choice of rows: which rows, and noise for a short batch.

    Attributes:
      rows: int32 [K or more] indices into the (tiled) rows, in random order.
      noise: [M, E] standard normal for the M >= K tiled rows; None when N >= K.
    """

    rows: jax.Array
    noise: jax.Array | None


def empty(num_codes: int, emb_dim: int) -> Codebook:
    """A codebook that waits for its first batch."""
    zeros = jnp.zeros((num_codes, emb_dim))
    return Codebook(zeros, zeros, jnp.zeros(num_codes), jnp.zeros((), bool))


def restore(codebook: jax.Array, *, num_tokens: float | None = None) -> Codebook:
    """State for code vectors [K, E] read from a file, where the averages are not kept.

    Args:
      num_tokens: rows of a training batch; each code then counts as having had its equal share.
    """
    usage = 1.0 if num_tokens is None else num_tokens / codebook.shape[0]
    counts = jnp.full(codebook.shape[0], usage, jnp.float32)
    return Codebook(codebook, codebook * usage, counts, jnp.ones((), bool))


def nearest(x: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nearest code of each row and its squared distance. [B, T, E] -> int32, float32 [B, T].

    Goes along time in pieces: the distances to all codes never exist at once, which keeps long
    audio in memory and a CPU in its cache. The batch axis stays whole, so it may be sharded.
    """
    batch, length, emb_dim = x.shape
    x, codebook = x.astype(jnp.float32), codebook.astype(jnp.float32)
    pieces = max(1, -(-length // _PIECE))
    piece = -(-length // pieces)
    padded = jnp.pad(x, ((0, 0), (0, pieces * piece - length), (0, 0)))
    padded = padded.reshape(batch, pieces, piece, emb_dim).swapaxes(0, 1)
    codes, distance = lax.map(lambda rows: _nearest(rows, codebook), padded)
    codes, distance = (y.swapaxes(0, 1).reshape(batch, -1)[:, :length] for y in (codes, distance))
    return codes, distance


def _nearest(x: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`nearest` in one piece."""
    num_codes = codebook.shape[0]
    products = jnp.matmul(x, codebook.T, precision=_PRECISION)  # [B, T, K]
    partial = jnp.sum(jnp.square(codebook), axis=-1) - 2 * products
    smallest = jnp.min(partial, axis=-1)
    # The first code at the smallest distance: two plain reductions run faster than an argmin. A row
    # of NaN has no smallest; its code stays in range.
    index = jnp.arange(num_codes, dtype=jnp.int32)
    codes = jnp.min(jnp.where(partial == smallest[..., None], index, num_codes - 1), axis=-1)
    return codes, smallest + jnp.sum(jnp.square(x), axis=-1)


def lookup(codes: jax.Array, codebook: jax.Array) -> jax.Array:
    """Code vectors. int [...] -> [..., E]."""
    return codebook[codes]


def quantise(x: jax.Array, codebook: jax.Array) -> Quantised:
    """Replaces each row by its nearest code, with a straight-through gradient. [B, T, E] ->."""
    x = x.astype(jnp.float32)
    codes, distance = nearest(lax.stop_gradient(x), codebook)
    vectors = lax.stop_gradient(lookup(codes, codebook))
    spread = jnp.sqrt(jnp.mean(jnp.square(lax.stop_gradient(x - jnp.mean(x)))))
    return Quantised(
        codes=codes,
        vectors=x + lax.stop_gradient(vectors - x),
        commit=jnp.mean(jnp.square(vectors - x)),
        fit=jnp.mean(distance),
        pn=spread,
    )


def draw(key: jax.Array, num_rows: int, num_codes: int, emb_dim: int) -> Draw:
    """Draws what `candidates` needs for a batch of `num_rows` rows."""
    tiled = num_rows * _repeats(num_rows, num_codes)
    order_key, noise_key = jax.random.split(key)
    rows = jax.random.permutation(order_key, tiled)[:num_codes]
    noise = None
    if num_rows < num_codes:
        noise = jax.random.normal(noise_key, (tiled, emb_dim))
    return Draw(rows, noise)


def candidates(x: jax.Array, num_codes: int, drawn: Draw) -> jax.Array:
    """Random rows of the batch, to start codes with. [N, E] -> [K, E].

    A batch with fewer rows than codes is repeated, with a little noise on every row.
    """
    num_rows, emb_dim = x.shape
    if num_rows < num_codes:
        x = jnp.tile(x, (_repeats(num_rows, num_codes), 1))
        x = x + drawn.noise * (INIT_NOISE / emb_dim**0.5)
    return x[drawn.rows[:num_codes]]


def _repeats(num_rows: int, num_codes: int) -> int:
    return max(1, -(-num_codes // num_rows))


def initialise(first: jax.Array) -> Codebook:
    """State that starts from given code vectors [K, E], each with a count of 1."""
    return Codebook(first, first, jnp.ones(first.shape[0]), jnp.ones((), bool))


def totals(x: jax.Array, codes: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """Sum and number of the rows that chose each code. [N, E], [N] -> [K, E], [K]."""
    # Accelerators scatter slowly, and GPUs in an order that changes from run to run.
    return lax.platform_dependent(
        x.astype(jnp.float32),
        codes,
        cpu=functools.partial(_scattered_totals, num_codes=num_codes),
        default=functools.partial(_multiplied_totals, num_codes=num_codes),
    )


def _scattered_totals(x: jax.Array, codes: jax.Array, *, num_codes: int):
    """`totals` by adding each row where it belongs."""
    ones = jnp.ones_like(codes, jnp.float32)
    sums = jax.ops.segment_sum(x, codes, num_codes)
    return sums, jax.ops.segment_sum(ones, codes, num_codes)


def _multiplied_totals(x: jax.Array, codes: jax.Array, *, num_codes: int):
    """`totals` as one matrix product."""
    chosen = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)  # [N, K]
    return jnp.matmul(chosen.T, x, precision=_PRECISION), jnp.sum(chosen, axis=0)


def code_statistics(counts: jax.Array, *, threshold: float = 1.0) -> dict[str, jax.Array]:
    """What a batch made of the codebook, from the number of rows of each code [K].

    That is: entropy (nats) and used_curr (codes chosen at least `threshold` times).
    """
    share = counts / jnp.sum(counts)
    return {
        "entropy": -jnp.sum(share * jnp.log(share + 1e-8)),
        "used_curr": jnp.sum(counts >= threshold).astype(jnp.float32),
    }


def usage(state: Codebook, *, threshold: float = 1.0) -> jax.Array:
    """Number of codes that are alive: chosen at least `threshold` times on average."""
    return jnp.sum(state.codebook_count >= threshold).astype(jnp.float32)


def update(
    state: Codebook,
    x: jax.Array,
    codes: jax.Array,
    fresh: jax.Array,
    *,
    decay: float,
    threshold: float = 1.0,
) -> tuple[Codebook, dict[str, jax.Array]]:
    """One step of the moving averages.

    Codes whose average count is under `threshold` restart at `fresh`; their averages go on as they
    are, so they restart at every step until enough rows choose them. A decay of 1.0 freezes the
    codebook: neither averages nor restarts.

    Args:
      x: [N, E] the batch's rows.
      codes: int [N] the codes they chose.
      fresh: [K, E] rows to restart from (`candidates`).

    Returns:
      The new state, and metrics: those of `code_statistics`, usage, and dk (rms change of the
      codebook).
    """
    sums, counts = totals(x, codes, state.codebook.shape[0])
    new = state
    if decay != 1.0:
        new_sum = decay * state.codebook_sum + (1 - decay) * sums
        new_count = decay * state.codebook_count + (1 - decay) * counts
        alive = (new_count >= threshold)[:, None]
        # The mean of a dead code is not used, but must not be 0 / 0 either.
        mean = new_sum / jnp.where(alive, new_count[:, None], 1.0)
        new = Codebook(jnp.where(alive, mean, fresh), new_sum, new_count, state.initialised)
    metrics = code_statistics(counts, threshold=threshold)
    metrics["usage"] = usage(new, threshold=threshold)
    metrics["dk"] = jnp.sqrt(jnp.mean(jnp.square(new.codebook - state.codebook)))
    return new, metrics
