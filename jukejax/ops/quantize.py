"""Vector quantization with a codebook learned by moving averages (Jukebox, section 3.1).

All functions are pure: they take the codebook's state and return the new one, and random numbers
can be passed in, so that every step can be reproduced. Rows are those of the global batch; under
jit over a mesh they may be sharded, and sums and draws still cover the global batch, with the same
result on every device.
Letters: N rows (batch x time), K codes, E features of a code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jukejax.ops.cpu.scatter import scatter_sums
from jukejax.ops.cpu.switch import is_for_cpu

INIT_NOISE = 0.01  # standard deviation of the noise on repeated rows, times sqrt(E)
# Full float32: TF32 or bfloat16 products would select other codes among close ones.
_PRECISION = lax.Precision.HIGHEST
_CHUNK = 1024  # positions of a chunk, whose distances to all codes are in memory


class Codebook(NamedTuple):
    """A codebook and its moving averages, in float32, and a flag.

    Attributes:
      codebook: [K, E] code vectors.
      codebook_sum: [K, E] moving average of the sum of the rows of each code.
      codebook_count: [K] moving average of their number.
      initialised: [] bool; False until the first training batch. The spelling is that of
        existing checkpoints.
    """

    codebook: jax.Array
    codebook_sum: jax.Array
    codebook_count: jax.Array
    initialised: jax.Array


class Quantized(NamedTuple):
    """The result of quantizing a batch.

    Attributes:
      codes: int32 [B, T].
      vectors: [B, T, E] code vectors, with a straight-through gradient to the input.
      commitment_loss: [] mean squared distance of the input's entries to their codes.
      quantization_error: [] mean squared distance of a row to its code, summed over E; `fit` in
        logs.
      input_std: [] standard deviation of the input's entries; `pn` in logs.
    """

    codes: jax.Array
    vectors: jax.Array
    commitment_loss: jax.Array
    quantization_error: jax.Array
    input_std: jax.Array


class Draw(NamedTuple):
    """The random numbers of a selection of rows: which rows, and noise for a short batch.

    Attributes:
      rows: int32 [K or more] indices into the (tiled) rows, in random order.
      noise: [M, E] standard normal for the M >= K tiled rows; None when N >= K.
    """

    rows: jax.Array
    noise: jax.Array | None


def empty_codebook(num_codes: int, emb_dim: int) -> Codebook:
    """Returns the state of a codebook before its first batch."""
    zeros = jnp.zeros((num_codes, emb_dim))
    return Codebook(zeros, zeros, jnp.zeros(num_codes), jnp.zeros((), bool))


def restore_codebook(codebook: jax.Array, *, num_tokens: float | None = None) -> Codebook:
    """Returns the state for code vectors [K, E] of a file that has no averages.

    Args:
      num_tokens: rows of a training batch, of which each code gets an equal share as its count.
    """
    usage = 1.0 if num_tokens is None else num_tokens / codebook.shape[0]
    counts = jnp.full(codebook.shape[0], usage, jnp.float32)
    return Codebook(codebook, codebook * usage, counts, jnp.ones((), bool))


def find_nearest(x: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Finds the nearest code of each row, and its squared distance: int32 and float32 [B, T].

    Distances are computed for a chunk of time at once, which bounds memory and fits a CPU's cache.
    The batch axis is not split, so it may be sharded.
    """
    batch, length, emb_dim = x.shape
    x, codebook = x.astype(jnp.float32), codebook.astype(jnp.float32)
    num_chunks = max(1, -(-length // _CHUNK))
    chunk = -(-length // num_chunks)
    padded = jnp.pad(x, ((0, 0), (0, num_chunks * chunk - length), (0, 0)))
    padded = padded.reshape(batch, num_chunks, chunk, emb_dim).swapaxes(0, 1)
    codes, distance = lax.map(lambda rows: _find_nearest(rows, codebook), padded)
    codes, distance = (y.swapaxes(0, 1).reshape(batch, -1)[:, :length] for y in (codes, distance))
    return codes, distance


def _find_nearest(x: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes `find_nearest` of one chunk."""
    num_codes = codebook.shape[0]
    inner = jnp.matmul(x, codebook.T, precision=_PRECISION)  # [B, T, K]
    partial = jnp.sum(jnp.square(codebook), axis=-1) - 2 * inner
    smallest = jnp.min(partial, axis=-1)
    # The first code at the smallest distance, by two reductions, which are faster than an argmin. A
    # row of NaN gets the last code, so that codes stay in range.
    index = jnp.arange(num_codes, dtype=jnp.int32)
    codes = jnp.min(jnp.where(partial == smallest[..., None], index, num_codes - 1), axis=-1)
    return codes, smallest + jnp.sum(jnp.square(x), axis=-1)


def look_up(codes: jax.Array, codebook: jax.Array) -> jax.Array:
    """Returns the vectors of codes. int [...] -> [..., E]."""
    return codebook[codes]


def sum_halves(x: jax.Array, emb_dim: int) -> tuple[jax.Array, jax.Array]:
    """Prepares features for a codebook. [B, T, E or 2 E] -> (rows [B, T, E], input_std).

    Features of twice the width are the sum of their halves, and their standard deviation (pn) is
    the sum of those of the halves, as in OpenAI's code.

    Raises:
      ValueError: the features have another width.
    """
    width = x.shape[-1]
    if width not in (emb_dim, 2 * emb_dim):
        raise ValueError(
            f"features have {width} entries, but a codebook of {emb_dim} takes {emb_dim} or "
            f"{2 * emb_dim}"
        )
    halves = jnp.split(x, width // emb_dim, axis=-1)
    deviations = [jnp.std(lax.stop_gradient(half)) for half in halves]
    return sum(halves[1:], halves[0]), sum(deviations[1:], deviations[0])


def quantize_vectors(
    x: jax.Array, codebook: jax.Array, codes: jax.Array | None = None
) -> Quantized:
    """Replaces each row of [B, T, E] by its nearest code, with a straight-through gradient.

    Rows of twice the codebook's width are summed by `sum_halves`.

    The commitment loss is |z - e|^2 averaged over all entries, with the gradient stopped at the
    code vectors e (van den Oord et al. 2017, equation 3).

    Args:
      codes: int32 [B, T], where they are not the nearest of all; None: they are.
    """
    x, input_std = sum_halves(x.astype(jnp.float32), codebook.shape[1])
    if codes is None:
        codes, distance = find_nearest(lax.stop_gradient(x), codebook)
        vectors = lax.stop_gradient(look_up(codes, codebook))
    else:
        vectors = lax.stop_gradient(look_up(codes, codebook))
        distance = jnp.sum(jnp.square(lax.stop_gradient(vectors - x)), axis=-1)
    return Quantized(
        codes=codes,
        vectors=x + lax.stop_gradient(vectors - x),
        commitment_loss=jnp.mean(jnp.square(vectors - x)),
        quantization_error=jnp.mean(distance),
        input_std=input_std,
    )


def draw_rows(key: jax.Array, num_rows: int, num_codes: int, emb_dim: int) -> Draw:
    """Draws the random numbers of `select_rows` for a batch of `num_rows` rows."""
    tiled = num_rows * _repeats(num_rows, num_codes)
    order_key, noise_key = jax.random.split(key)
    rows = jax.random.permutation(order_key, tiled)[:num_codes]
    noise = None
    if num_rows < num_codes:
        noise = jax.random.normal(noise_key, (tiled, emb_dim))
    return Draw(rows, noise)


def select_rows(x: jax.Array, num_codes: int, drawn: Draw) -> jax.Array:
    """Selects random rows of the batch as code vectors. [N, E] -> [K, E].

    A batch with fewer rows than codes is repeated, with noise of `INIT_NOISE` added to every row.
    """
    num_rows, emb_dim = x.shape
    if num_rows < num_codes:
        x = jnp.tile(x, (_repeats(num_rows, num_codes), 1))
        x = x + drawn.noise * (INIT_NOISE / emb_dim**0.5)
    return x[drawn.rows[:num_codes]]


def _repeats(num_rows: int, num_codes: int) -> int:
    return max(1, -(-num_codes // num_rows))


def start_codebook(first: jax.Array) -> Codebook:
    """Returns the state that starts from code vectors [K, E], each with a count of 1."""
    return Codebook(first, first, jnp.ones(first.shape[0]), jnp.ones((), bool))


def sum_by_code(x: jax.Array, codes: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """Computes the sum and number of the rows of each code. [N, E], [N] -> [K, E], [K]."""
    # Scatters are slow on accelerators, and on GPUs their order of summation is not deterministic.
    sum_rows = scatter_sums if is_for_cpu() else _multiply_one_hot
    return sum_rows(x.astype(jnp.float32), codes, num_codes)


def _multiply_one_hot(
    x: jax.Array, codes: jax.Array, num_codes: int
) -> tuple[jax.Array, jax.Array]:
    """Computes `sum_by_code` as one matrix product."""
    one_hot = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)  # [N, K]
    return jnp.matmul(one_hot.T, x, precision=_PRECISION), jnp.sum(one_hot, axis=0)


def compute_code_statistics(counts: jax.Array, *, threshold: float = 1.0) -> dict[str, jax.Array]:
    """Computes a batch's statistics from the number of rows of each code [K].

    These are entropy (nats) and used_curr (number of codes with at least `threshold` rows).
    """
    share = counts / jnp.sum(counts)
    return {
        "entropy": -jnp.sum(share * jnp.log(share + 1e-8)),
        "used_curr": jnp.sum(counts >= threshold).astype(jnp.float32),
    }


def count_live_codes(state: Codebook, *, threshold: float = 1.0) -> jax.Array:
    """Counts the codes with at least `threshold` rows a batch on average."""
    return jnp.sum(state.codebook_count >= threshold).astype(jnp.float32)


def update_codebook(
    state: Codebook,
    x: jax.Array,
    codes: jax.Array,
    fresh: jax.Array,
    *,
    decay: float,
    threshold: float = 1.0,
) -> tuple[Codebook, dict[str, jax.Array]]:
    """Updates the moving averages by the rows of a batch.

    Codes whose average count is under `threshold` restart at `fresh`; their averages are not reset,
    so that they restart at every step until enough rows are assigned to them. A decay of 1.0
    freezes the codebook: neither averages nor restarts.

    Args:
      x: [N, E] the batch's rows.
      codes: int [N] the code of each row.
      fresh: [K, E] rows to restart from (`select_rows`).

    Returns:
      The new state, and metrics by their names in logs: those of `compute_code_statistics`,
      usage (`count_live_codes`), and dk (root mean square change of the codebook).
    """
    sums, counts = sum_by_code(x, codes, state.codebook.shape[0])
    new = state
    if decay != 1.0:
        new_sum = decay * state.codebook_sum + (1 - decay) * sums
        new_count = decay * state.codebook_count + (1 - decay) * counts
        alive = (new_count >= threshold)[:, None]
        # The mean of a dead code is not used; the divisor 1 avoids 0 / 0.
        mean = new_sum / jnp.where(alive, new_count[:, None], 1.0)
        new = Codebook(jnp.where(alive, mean, fresh), new_sum, new_count, state.initialised)
    metrics = compute_code_statistics(counts, threshold=threshold)
    metrics["usage"] = count_live_codes(new, threshold=threshold)
    metrics["dk"] = jnp.sqrt(jnp.mean(jnp.square(new.codebook - state.codebook)))
    return new, metrics
