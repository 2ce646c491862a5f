"""Layouts of weights for decoding: in panels, transposed, in groups of rows, or in eight bits.

A step of decoding multiplies a few vectors with every matrix. On GPUs the summed axis must be last:
otherwise XLA materializes all summands of a product with one vector. XLA's CPU compiler runs a
product with few vectors on one core, and a batched product on all cores. On CPUs a matrix is
therefore stored in panels of columns for the compiled product (ops/cpu/panels.py), and without a
compiler in as many groups of rows as there are cores: on two cores 48 products of 512 x 512
matrices took 2.4 ms instead of 3.7 with one vector, and 4.1 ms instead of 8.6 with four.

In eight bits a matrix has one symmetric scale for each channel. A step of a small batch reads every
weight once: on accelerators its time is the size of the weights over the memory bandwidth, and int8
has half the size of bfloat16.

Letters: N vectors, I inputs, O outputs, G groups, P panels, W columns of a panel.
"""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jukejax.common.types import Tree
from jukejax.ops.cpu import panels as cpu_panels
from jukejax.ops.cpu import products
from jukejax.ops.cpu.switch import is_for_cpu
from jukejax.ops.dense import dense, matmul
from jukejax.ops.formulas import add_bias

# Names of the matrices: names of their scales, and the axis that products sum over.
SCALES = {
    "kernel": ("scale", 0),
    "code_embedding": ("code_embedding_scale", 1),
    "output": ("output_scale", 1),
}
LARGEST_INT8 = 127
Axes = tuple[str | None, ...]  # logical names
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


def dense_panels(
    x: jax.Array,
    panels: jax.Array,
    bias: jax.Array,
    *,
    scale: jax.Array | None = None,
    gelu: bool = False,
    residual: jax.Array | None = None,
) -> jax.Array:
    """Computes `ops.dense.dense` with a matrix in panels, in x's type.

    Args:
      x: [N, I].
      panels: [P, I, W] of a matrix [I, O].
      bias: [O].
      scale: [O], multiplies the product of a matrix in eight bits, or None.
      gelu: whether to apply `quick_gelu`; not together with a residual.
      residual: [N, O] to be added, or None.
    """
    if cpu_panels.supports_dense(x, panels):
        out = cpu_panels.dense(
            x, panels, len(bias), scale=scale, bias=bias, gelu=gelu, residual=residual
        )
        return out.astype(x.dtype)
    if scale is None:
        kernel = unpack_panels(panels, len(bias)).astype(x.dtype)
        return dense(x, kernel, bias, gelu=gelu, residual=residual)
    product = multiply_panels(x, panels, len(bias), scale).astype(x.dtype)
    return add_bias(product, bias, gelu=gelu, residual=residual)


def multiply_panels(
    x: jax.Array, panels: jax.Array, features: int, scale: jax.Array | None = None
) -> jax.Array:
    """Computes x [N, I] times a matrix in panels [P, I, W], times `scale` [O]. float32 [N, O]."""
    if cpu_panels.supports_dense(x, panels):
        return cpu_panels.dense(x, panels, features, scale=scale)
    kernel = unpack_panels(panels, features).astype(x.dtype)
    if x.dtype == jnp.float32:
        product = matmul(x, kernel)
    else:
        product = jnp.dot(x, kernel, preferred_element_type=jnp.float32)
    return product if scale is None else product * scale


@jax.jit
def pack_panels(kernel: jax.Array) -> jax.Array:
    """Stores a matrix [I, O] in panels [P, I, W], the last one padded with zeros."""
    inputs, features = kernel.shape
    count = -(-features // cpu_panels.WIDTH)
    padded = jnp.pad(kernel, ((0, 0), (0, count * cpu_panels.WIDTH - features)))
    return padded.reshape(inputs, count, cpu_panels.WIDTH).swapaxes(0, 1)


def unpack_panels(panels: jax.Array, features: int) -> jax.Array:
    """Returns the matrix [I, O = features] of panels [P, I, W]."""
    return panels.swapaxes(0, 1).reshape(panels.shape[1], -1)[:, :features]


class Layout(NamedTuple):
    """The layout of kernels [I, O] for decoding.

    Attributes:
      name: "kernel" as they are, "rows" transposed, "panels" as of `pack_panels`.
      groups: largest number of groups of rows.
    """

    name: str
    groups: int = 1


def find_layout(platform: str | None, dtype: jnp.dtype, *, is_partitioned: bool = False) -> Layout:
    """Returns the layout of a platform's kernels.

    Args:
      platform: "cpu", "gpu" or "tpu"; None: the default backend.
      dtype: of the stored matrices.
      is_partitioned: several devices share a matrix.
    """
    match platform or jax.default_backend():
        case "gpu":
            return Layout("rows")
        case "cpu" if is_partitioned:
            return Layout("kernel")
        case "cpu" if cpu_panels.supports_panels(dtype):
            return Layout("panels")
        case "cpu":
            return Layout("rows", os.cpu_count() or 1)
        case _:
            return Layout("kernel")


def name_axes(name: str, axes: Mapping[str, Axes]) -> Axes:
    """Returns the logical axes of an array of `lay_out_weights`, without groups and panels.

    Args:
      name: of the array.
      axes: of the parameters beside it, by name.
    """
    if name in axes:
        return axes[name]
    if name == "rows":
        return axes["kernel"][::-1]
    parameter, axis = {scale: (of, axis) for of, (scale, axis) in SCALES.items()}[name]
    return tuple(entry for i, entry in enumerate(axes[parameter]) if i != axis)


def lay_out_weights(tree: Tree, *, dtype: jnp.dtype, int8: bool, layout: Layout) -> Tree:
    """Casts a tree of parameters, and lays out its kernels [I, O] and tables [V, E].

    Args:
      tree: parameters of layers.
      dtype: type of vectors, and of matrices unless they are in eight bits (or see `cast_matrix`).
      int8: stores matrices in eight bits with float32 scales.
      layout: of kernels.
    """
    if not isinstance(tree, dict):
        # Cast on the device. `jnp.asarray` would compile a program for every shape.
        return jax.device_put(tree).astype(dtype)
    weights = {}
    for name, leaf in tree.items():
        if name not in SCALES:
            weights[name] = lay_out_weights(leaf, dtype=dtype, int8=int8, layout=layout)
            continue
        (scale_name, axis), is_kernel = SCALES[name], name == "kernel"
        if int8:
            matrix, weights[scale_name] = quantize_int8(jax.device_put(leaf), axis)
        else:
            matrix = jax.device_put(leaf)
            matrix = cast_matrix(matrix, dtype, layout) if is_kernel else matrix.astype(dtype)
        if is_kernel:
            name, matrix = layout.name, _lay_out_kernel(matrix, layout)
        weights[name] = matrix
    return weights


def cast_matrix(matrix: jax.Array, dtype: jnp.dtype, layout: Layout) -> jax.Array:
    """Casts a matrix to a compute type, on the device.

    One in float16 stays so for panels and float32: its products are in float32 all the same, and a
    step reads half the bytes.
    """
    matrix = jax.device_put(matrix)
    is_half = matrix.dtype == jnp.float16 and jnp.dtype(dtype) == jnp.float32
    return matrix if is_half and layout.name == "panels" else matrix.astype(dtype)


def _lay_out_kernel(kernel: jax.Array, layout: Layout) -> jax.Array:
    if layout.name == "kernel":
        return kernel
    if layout.name == "panels":
        return pack_panels(kernel)
    divisor = math.gcd(layout.groups, kernel.shape[1])
    return kernel.T.reshape(divisor, -1, len(kernel)) if divisor > 1 else kernel.T


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
