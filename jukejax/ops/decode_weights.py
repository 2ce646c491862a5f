"""Layouts of weights for decoding: transposed, in groups of rows, or in eight bits.

A step of decoding multiplies a few vectors with every matrix. On GPUs the summed axis must be last:
otherwise XLA materializes all summands of a product with one vector. XLA's CPU compiler runs a
product with few vectors on one core, and a batched product on all cores. On CPUs a matrix is
therefore stored in as many groups of rows as there are cores: on two cores 48 products of 512 x 512
matrices took 2.4 ms instead of 3.7 with one vector, and 4.1 ms instead of 8.6 with four.

In eight bits a matrix has one symmetric scale for each channel. A step of a small batch reads every
weight once: on accelerators its time is the size of the weights over the memory bandwidth, and int8
has half the size of bfloat16.

Letters: N vectors, I inputs, O outputs, G groups.
"""

import math
import os

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.ops.cpu import products
from jukejax.ops.cpu.switch import is_for_cpu

# Names of the matrices: names of their scales, and the axis that products sum over.
SCALES = {
    "kernel": ("scale", 0),
    "code_embedding": ("code_embedding_scale", 1),
    "output": ("output_scale", 1),
}
LARGEST_INT8 = 127
_FEW = 32  # vectors; with more of them, the plain product is faster than the one by groups


def multiply_rows(x: jax.Array, rows: jax.Array, sum_dtype: jnp.dtype | None = None) -> jax.Array:
    """Computes x [N, I] times the transpose of a matrix, [N, O].

    Args:
      x: vectors.
      rows: [O, I], or [G, O // G, I].
      sum_dtype: type of the sums and of the result; None: x's.
    """
    if rows.ndim == 2 or len(x) > _FEW:
        matrix = rows.reshape(-1, rows.shape[-1])
        if is_for_cpu() and products.supports_product(x, len(matrix)):
            return products.product(x, matrix, True)
        return jnp.einsum("ni,oi->no", x, matrix, preferred_element_type=sum_dtype)
    copies = jnp.broadcast_to(x, (len(rows), *x.shape))
    out = jnp.einsum("goi,gni->gon", rows, copies, preferred_element_type=sum_dtype)
    return out.reshape(-1, len(x)).T


def count_row_groups(platform: str | None = None) -> int | None:
    """Returns the number of groups of rows in which a platform's matrices are stored.

    Args:
      platform: "cpu", "gpu" or "tpu"; None: the default backend.

    Returns:
      None on platforms where kernels [I, O] are not transposed.
    """
    return {"gpu": 1, "cpu": os.cpu_count() or 1}.get(platform or jax.default_backend())


def lay_out_weights(tree: Tree, *, dtype: jnp.dtype, int8: bool, groups: int | None) -> Tree:
    """Casts a tree of parameters, and lays out its kernels [I, O] and tables [V, E].

    Args:
      tree: parameters of layers.
      dtype: type of vectors, and of matrices unless they are in eight bits.
      int8: stores matrices in eight bits with float32 scales.
      groups: largest number of groups of the rows of kernels; None: kernels are not transposed.
    """
    if not isinstance(tree, dict):
        return jnp.asarray(tree).astype(dtype)  # cast on the device
    weights = {}
    for name, leaf in tree.items():
        if name not in SCALES:
            weights[name] = lay_out_weights(leaf, dtype=dtype, int8=int8, groups=groups)
            continue
        scale_name, axis = SCALES[name]
        if int8:
            matrix, weights[scale_name] = quantize_int8(jnp.asarray(leaf), axis)
        else:
            matrix = jnp.asarray(leaf).astype(dtype)
        if name == "kernel" and groups is not None:
            name, matrix = "rows", matrix.T
            divisor = math.gcd(groups, len(matrix))
            if divisor > 1:
                matrix = matrix.reshape(divisor, -1, matrix.shape[1])
        weights[name] = matrix
    return weights


def quantize_int8(weights: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Rounds weights to the nearest of 255 values for each channel.

    Args:
      weights: float [..., n, ...].
      axis: the axis that the product sums over, so that each output has a scale of its own.

    Returns:
      (int8, shaped as `weights`; float32 scales without `axis`), whose product differs from
      each weight by at most half a scale. A channel of zeros has scale 1.
    """
    weights_f32 = weights.astype(jnp.float32)
    largest = jnp.abs(weights_f32).max(axis=axis, keepdims=True)
    scale = jnp.where(largest > 0, largest / LARGEST_INT8, 1.0)
    return jnp.round(weights_f32 / scale).astype(jnp.int8), scale.squeeze(axis)
