"""Convolutional parts of the VQ-VAE and of the upsamplers' conditioner (Jukebox, section 3.1).

A residual stack is a sequence of blocks x + scale * conv1(relu(conv3(relu(x)))) whose dilations
grow as powers of `dilation_growth_rate`. An encoder block alternates strided convolutions and such
stacks; a decoder block mirrors it with transposed convolutions.

Arrays are [batch, time, channels]. Kernels are [taps, in, out]. Letters: B batch, T time, S stride,
C channels in, D channels out.
"""

import functools
import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jukejax.common.types import Tree
from jukejax.ops.convolution import conv, residual_block, strided_conv, transposed_conv
from jukejax.ops.logical_axes import constrain


def _bound(shape: tuple[int, int, int], *, transposed: bool = False) -> float:
    """Returns the bound of the initial weights, U(-bound, bound), as in PyTorch.

    NOTE: PyTorch counts the fan of a transposed convolution on its output side.
    """
    taps, channels, features = shape
    return 1 / math.sqrt(taps * (features if transposed else channels))


def _draw_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32, *, bound: float
) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _define_weights(
    module: nn.Module,
    shape: tuple[int, int, int],
    *,
    transposed: bool = False,
    zero_out: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Returns kernel and bias of a convolution, with logical axes, in the module's `dtype`."""
    bound = _bound(shape, transposed=transposed)
    uniform = functools.partial(_draw_uniform, bound=bound)
    init = nn.initializers.zeros_init() if zero_out else uniform
    kernel = module.param(
        "kernel", nn.with_logical_partitioning(init, (None, "conv_in", "conv_out")), shape
    )
    bias = module.param("bias", nn.with_logical_partitioning(init, ("conv_out",)), shape[-1:])
    # Weights are stored sharded, and gathered for use, so that convolutions are partitioned over
    # the batch only. XLA (jaxlib 0.10.2) computes wrong gradients of a convolution whose batch and
    # features are both sharded, on a mesh of 2 x 2 x 2 with two examples a device (tested in
    # eight_devices/test_equal_steps.py).
    kernel = constrain(kernel.astype(module.dtype), None, None, None)
    return kernel, constrain(bias.astype(module.dtype), None)


class Conv(nn.Module):
    """Applies a dilated convolution without a change of length."""

    features: int
    taps: int = 3
    dilation: int = 1
    zero_out: bool = False
    dtype: jnp.dtype = jnp.float32

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.weights(x.shape[-1])
        return conv(x.astype(self.dtype), kernel, dilation=self.dilation) + bias

    @nn.compact
    def weights(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Returns the kernel [taps, channels, features] and the bias [features], in `dtype`."""
        return _define_weights(self, (self.taps, channels, self.features), zero_out=self.zero_out)


class DownConv(nn.Module):
    """Applies a strided convolution; the output is `stride` times shorter (rounded down)."""

    features: int
    stride: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (2 * self.stride, x.shape[-1], self.features)
        kernel, bias = _define_weights(self, shape)
        return strided_conv(x.astype(self.dtype), kernel) + bias


class UpConv(nn.Module):
    """Applies a transposed convolution; the output is `stride` times longer."""

    features: int
    stride: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (2 * self.stride, x.shape[-1], self.features)
        kernel, bias = _define_weights(self, shape, transposed=True)
        return transposed_conv(x.astype(self.dtype), kernel) + bias


class ResidualBlock(nn.Module):
    """Computes x + scale * conv1(relu(conv3(relu(x)))); the first convolution is dilated."""

    hidden: int
    dilation: int
    scale: float = 1.0
    zero_out: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        conv3 = Conv(self.hidden, dilation=self.dilation, dtype=self.dtype, name="conv3")
        conv1 = Conv(width, taps=1, zero_out=self.zero_out, dtype=self.dtype, name="conv1")
        return residual_block(
            x,
            *conv3.weights(width),
            *conv1.weights(self.hidden),
            dilation=self.dilation,
            scale=self.scale,
        )


@dataclass(frozen=True)
class StackConfig:
    """The configuration of a residual stack.

    Attributes:
      depth: number of blocks.
      m_conv: hidden channels of a block, as a multiple of its channels.
      dilation_growth_rate: ratio of the dilations of consecutive blocks.
      dilation_cycle: number of blocks after which dilations restart at 1; None: no restart.
      reverse_dilation: the largest dilation comes first.
      res_scale: divide each block's branch by sqrt(depth).
      zero_out: blocks start as the identity.
      remat: recompute each block in the backward pass instead of saving its activations.
    """

    depth: int
    m_conv: float = 1.0
    dilation_growth_rate: int = 1
    dilation_cycle: int | None = None
    reverse_dilation: bool = False
    res_scale: bool = False
    zero_out: bool = False
    remat: bool = False

    @property
    def dilations(self) -> list[int]:
        """The dilation of each block, in the order of application."""
        cycle = self.dilation_cycle or self.depth
        dilations = [self.dilation_growth_rate ** (i % cycle) for i in range(self.depth)]
        return dilations[::-1] if self.reverse_dilation else dilations


class ResidualStack(nn.Module):
    """Applies residual blocks with dilations growth**0, growth**1, ..."""

    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        stack = self.stack
        block = nn.remat(ResidualBlock) if stack.remat else ResidualBlock
        for i, dilation in enumerate(stack.dilations):
            x = block(
                hidden=int(stack.m_conv * x.shape[-1]),
                dilation=dilation,
                scale=1 / math.sqrt(stack.depth) if stack.res_scale else 1.0,
                zero_out=stack.zero_out,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x)
            x = constrain(x, "batch", "time", None)
        return x


class EncoderBlock(nn.Module):
    """Applies `downs` times (strided convolution, residual stack), then a convolution.

    [B, T, in_features] -> [B, T // stride**downs, out_features]; with no downs the identity.
    """

    in_features: int
    width: int
    out_features: int
    downs: int
    stride: int
    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _check_block(self, x)
        if self.downs == 0:
            return x
        for i in range(self.downs):
            x = DownConv(self.width, self.stride, dtype=self.dtype, name=f"down_{i}")(x)
            x = ResidualStack(self.stack, self.dtype, name=f"stack_{i}")(x)
        return Conv(self.out_features, dtype=self.dtype, name="out")(x)


class DecoderBlock(nn.Module):
    """Applies a convolution, then `downs` times (residual stack, transposed convolution).

    [B, T, in_features] -> [B, T * stride**downs, out_features]; with no downs the identity.
    The last transposed convolution goes to `out_features`.
    """

    in_features: int
    width: int
    out_features: int
    downs: int
    stride: int
    stack: StackConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _check_block(self, x)
        if self.downs == 0:
            return x
        x = Conv(self.width, dtype=self.dtype, name="in")(x)
        for i in range(self.downs):
            x = ResidualStack(self.stack, self.dtype, name=f"stack_{i}")(x)
            features = self.out_features if i == self.downs - 1 else self.width
            x = UpConv(features, self.stride, dtype=self.dtype, name=f"up_{i}")(x)
        return x


def _check_block(block: EncoderBlock | DecoderBlock, x: jax.Array) -> None:
    if x.shape[-1] != block.in_features:
        raise ValueError(
            f"this block takes {block.in_features} channels, but its input has {x.shape[-1]}"
        )
    if block.stride % 2:
        raise ValueError(f"stride {block.stride} is odd: strides must be even (2, 4, ...)")
    if block.downs == 0 and block.in_features != block.out_features:
        raise ValueError(
            f"a block with downs 0 keeps its {block.in_features} channels, "
            f"but out_features is {block.out_features}"
        )


def init_params(shapes: Tree, key: jax.Array, *, zero_out: bool = False) -> Tree:
    """Initializes parameters of this file's modules like their `init`, from a single draw.

    XLA takes about 0.1 s to compile a draw on a CPU: the 450 weights of the VQ-VAE of
    configs/from_scratch.py took 58 s with a draw for each, and 10 s with a single draw.

    Args:
      shapes: a tree of shapes of parameters, boxed or not, as `jax.eval_shape` of an init gives.
      zero_out: as in the modules.
    """
    leaves = flatten_dict(nn.meta.unbox(shapes))
    noise = jax.random.uniform(key, (sum(leaf.size for leaf in leaves.values()),), minval=-1.0)
    values, offset = {}, 0
    for path, leaf in leaves.items():
        value = noise[offset : offset + leaf.size].reshape(leaf.shape)
        kernel = leaves[(*path[:-1], "kernel")].shape
        bound = _bound(kernel, transposed=path[-2].startswith("up_"))
        values[path] = value * (0.0 if zero_out and path[-2] == "conv1" else bound)
        offset += leaf.size
    return nn.meta.replace_boxed(shapes, unflatten_dict(values))
