"""The U-Nets of Spleeter: a spectrogram to the spectrogram of each of its stems.

Hennequin et al., "Spleeter: a fast and efficient music source separation tool with pre-trained
models" (JOSS 2020), after Jansson et al., "Singing voice separation with deep U-Net convolutional
networks" (ISMIR 2017). One net a stem. Six convolutions of stride 2 go down, six transposed ones
come up, each joined by what the way down saw at that size; the last layer is a mask on the input.

Only for running Deezer's weights: no dropout, and batch norm by its stored statistics.

Letters: B batch, T frames, F frequencies, C channels. Kernels are [height, width, in, out].
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# On accelerators too: the masks are compared with Deezer's, and the nets are small.
_PRECISION = lax.Precision.HIGHEST
BATCH_NORM_EPSILON = 1e-3  # Keras's default
LEAK = 0.2


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the nets; the defaults are those of Deezer's 2stems.

    Attributes:
      stems: names of the nets.
      features: channels of each convolution on the way down.
      channels: audio channels.
      taps: height and width of the strided kernels.
      mask_taps, mask_dilation: of the last convolution.
    """

    stems: tuple[str, ...] = ("vocals", "accompaniment")
    features: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    channels: int = 2
    taps: int = 5
    mask_taps: int = 4
    mask_dilation: int = 2

    @property
    def stride(self) -> int:
        """Frames and frequencies must be multiples of this."""
        return 2 ** len(self.features)


def _conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=_DIMENSIONS,
        precision=_PRECISION,
    )


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of stride 2 with TensorFlow's "same" padding. [B, T, F, C] -> [B, T/2, F/2, D].

    T and F are even. NOTE: for 5 taps that pads one row before and two after.
    """
    return _conv(x, kernel, 2)


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transpose of `strided_conv` for 5 x 5 taps. [B, T, F, C] -> [B, 2T, 2F, D].

    Even and odd outputs are taken apart: each is a convolution over the same three input rows (and
    columns), so that one 3 x 3 convolution to 4D channels makes all, and no zeros are multiplied.
    """
    for axis in (0, 1):
        kernel = _phases(kernel, axis)  # [3, 3, C, D, 2, 2] in the end
    size, _, channels, features = kernel.shape[:4]
    kernel = kernel.transpose(0, 1, 2, 4, 5, 3).reshape(size, size, channels, 4 * features)
    y = _conv(x, kernel, 1)
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, 2, 2, features)  # [B, T, F, odd T, odd F, D]
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, features)


def _phases(kernel: jax.Array, axis: int) -> jax.Array:
    """Splits the five taps of an axis into three for even and three for odd outputs, a new last
    axis. Output 2m takes taps 3, 1 from inputs m - 1, m; output 2m + 1 takes 4, 2, 0 from m - 1, m,
    m + 1."""
    taps = [jnp.take(kernel, tap, axis) for tap in range(5)]
    even = jnp.stack([taps[3], taps[1], jnp.zeros_like(taps[0])], axis)
    odd = jnp.stack([taps[4], taps[2], taps[0]], axis)
    return jnp.stack([even, odd], axis=-1)


def dilated_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Dilated convolution of one channel that keeps the size. [B, T, F, 1] -> [B, T, F, D].

    A sum of shifted inputs, as there are so few channels: XLA's convolution takes 30 times as long
    on a CPU.
    """
    taps, _, _, features = kernel.shape
    _, height, width, _ = x.shape
    reach = dilation * (taps - 1)
    before = reach // 2
    x = jnp.pad(x[..., 0], ((0, 0), (before, reach - before), (before, reach - before)))
    shifted = {
        (i, j): x[:, i * dilation :, j * dilation :][:, :height, :width]
        for i in range(taps)
        for j in range(taps)
    }
    sums = [sum(kernel[i, j, 0, d] * y for (i, j), y in shifted.items()) for d in range(features)]
    return jnp.stack(sums, axis=-1)


class _Conv(nn.Module):
    """Kernel and bias of one of the convolutions above, which is given by `kind`."""

    features: int
    taps: int
    kind: Callable[[jax.Array, jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.taps, self.taps, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape[-1:])
        return self.kind(x, kernel) + bias


def _norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=BATCH_NORM_EPSILON, name=name)


class UNet(nn.Module):
    """One stem's mask. [B, T, F, channels] -> the same, from 0 to 1.

    What joins the way up is each convolution's output before its batch norm, as Deezer has it.
    """

    config: UNetConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        seen = []
        for i, features in enumerate(config.features):
            if i > 0:
                x = nn.leaky_relu(_norm(f"down_norm_{i - 1}")(x), LEAK)
            x = _Conv(features, config.taps, strided_conv, name=f"down_{i}")(x)
            seen.append(x)
        seen.pop()
        for i, features in enumerate((*config.features[-2::-1], 1)):
            x = nn.relu(_Conv(features, config.taps, transposed_conv, name=f"up_{i}")(x))
            x = _norm(f"up_norm_{i}")(x)
            if seen:
                x = jnp.concatenate([seen.pop(), x], axis=-1)
        mask = functools.partial(dilated_conv, dilation=config.mask_dilation)
        x = _Conv(config.channels, config.mask_taps, mask, name="mask")(x)
        return nn.sigmoid(x)


class UNets(nn.Module):
    """All stems' magnitudes. [B, T, F, channels] -> [stems, B, T, F, channels].

    T and F are multiples of `config.stride`.
    """

    config: UNetConfig

    @nn.compact
    def __call__(self, magnitudes: jax.Array) -> jax.Array:
        _, frames, frequencies, _ = magnitudes.shape
        stride = self.config.stride
        if frames % stride or frequencies % stride:
            raise ValueError(
                f"{frames} frames and {frequencies} frequencies: both must be multiples of {stride}"
            )
        masks = [UNet(self.config, name=stem)(magnitudes) for stem in self.config.stems]
        return jnp.stack(masks) * magnitudes
