"""The U-Nets of Spleeter, which estimate the magnitude spectrogram of each stem of a mix.

Hennequin et al., "Spleeter: a fast and efficient music source separation tool with pre-trained
models" (JOSS 2020), after Jansson et al., "Singing voice separation with deep U-Net convolutional
networks" (ISMIR 2017). There is one net for each stem: six convolutions of stride 2, then six
transposed convolutions, each of whose outputs is concatenated with the output of the strided
convolution of the same size; the last layer computes a mask for the input.

For inference with Deezer's weights only: no dropout, and batch norm by its stored statistics.

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
# Full float32 on accelerators too: tests compare the masks with Deezer's, and the nets are small.
_PRECISION = lax.Precision.HIGHEST
BATCH_NORM_EPSILON = 1e-3  # Keras's default
LEAK = 0.2


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the nets; the defaults are those of Deezer's 2stems.

    Attributes:
      stems: names of the nets.
      features: channels of each strided convolution.
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
        """The divisor of valid numbers of frames and frequencies."""
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
    """Convolves with stride 2 and TensorFlow's "same" padding. [B, T, F, C] -> [B, T/2, F/2, D].

    T and F are even. NOTE: with 5 taps the padding is one row before and two after.
    """
    return _conv(x, kernel, 2)


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes the transpose of `strided_conv` for 5 x 5 taps. [B, T, F, C] -> [B, 2T, 2F, D].

    Even and odd outputs are convolutions over the same three input rows (and columns), so that one
    3 x 3 convolution to 4D channels computes both without multiplications by zero.
    """
    for axis in (0, 1):
        kernel = _phases(kernel, axis)  # after both: [3, 3, C, D, 2, 2]
    size, _, channels, features = kernel.shape[:4]
    kernel = kernel.transpose(0, 1, 2, 4, 5, 3).reshape(size, size, channels, 4 * features)
    y = _conv(x, kernel, 1)
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, 2, 2, features)  # [B, T, F, odd T, odd F, D]
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, features)


def _phases(kernel: jax.Array, axis: int) -> jax.Array:
    """Splits five taps of an axis into three for even and three for odd outputs, on a new axis.

    Output 2m uses taps 3 and 1 on inputs m - 1 and m; output 2m + 1 uses taps 4, 2 and 0 on inputs
    m - 1, m and m + 1.
    """
    taps = [jnp.take(kernel, tap, axis) for tap in range(5)]
    even = jnp.stack([taps[3], taps[1], jnp.zeros_like(taps[0])], axis)
    odd = jnp.stack([taps[4], taps[2], taps[0]], axis)
    return jnp.stack([even, odd], axis=-1)


def dilated_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Applies a dilated convolution to one channel. [B, T, F, 1] -> [B, T, F, D].

    It is computed as a sum of shifted inputs: for so few channels XLA's convolution takes 30 times
    as long on a CPU.
    """
    taps, _, _, features = kernel.shape
    _, height, width, _ = x.shape
    reach = dilation * (taps - 1)
    pad_before = reach // 2
    x = jnp.pad(
        x[..., 0], ((0, 0), (pad_before, reach - pad_before), (pad_before, reach - pad_before))
    )
    shifted = {
        (i, j): x[:, i * dilation :, j * dilation :][:, :height, :width]
        for i in range(taps)
        for j in range(taps)
    }
    sums = [sum(kernel[i, j, 0, d] * y for (i, j), y in shifted.items()) for d in range(features)]
    return jnp.stack(sums, axis=-1)


class _Conv(nn.Module):
    """Applies the convolution `kind`, one of the functions above, with a kernel and a bias."""

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
    """Computes one stem's mask, from 0 to 1. [B, T, F, channels] -> [B, T, F, channels].

    Skip connections carry the outputs of the strided convolutions before batch norm, as in
    Deezer's code.
    """

    config: UNetConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        skips = []
        for i, features in enumerate(config.features):
            if i > 0:
                x = nn.leaky_relu(_norm(f"down_norm_{i - 1}")(x), LEAK)
            x = _Conv(features, config.taps, strided_conv, name=f"down_{i}")(x)
            skips.append(x)
        skips.pop()
        for i, features in enumerate((*config.features[-2::-1], 1)):
            x = nn.relu(_Conv(features, config.taps, transposed_conv, name=f"up_{i}")(x))
            x = _norm(f"up_norm_{i}")(x)
            if skips:
                x = jnp.concatenate([skips.pop(), x], axis=-1)
        mask = functools.partial(dilated_conv, dilation=config.mask_dilation)
        x = _Conv(config.channels, config.mask_taps, mask, name="mask")(x)
        return nn.sigmoid(x)


class UNets(nn.Module):
    """Computes all stems' magnitudes. [B, T, F, channels] -> [stems, B, T, F, channels].

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
