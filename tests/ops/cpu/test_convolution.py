"""The compiled convolution and residual block against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models import layers
from jukejax.ops.cpu import convolution
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.ops.formulas import convolve

COMPILED = convolution  # what `needs_compiled` asks for

# Taps, dilation and (batch, time, channels, features); pairs of the first two occur once.
CASES = [
    (1, 1, (1, 1000, 64, 64)),
    (3, 27, (1, 1000, 64, 64)),
    (5, 400, (1, 1000, 64, 64)),
    (3, 1, (3, 130, 8, 32)),
    (5, 27, (3, 130, 8, 32)),
    (1, 400, (2, 257, 1, 33)),
    (5, 1, (2, 257, 1, 33)),
    (3, 400, (1, 5, 9, 1)),
    (1, 27, (1, 5, 9, 1)),
    (3, 1, (2, 300, 150, 70)),
    (5, 27, (2, 300, 150, 70)),
]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(ours, expected, depth):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * depth**0.5)


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(("taps", "dilation", "shape"), CASES)
def test_equals_xla_s(shape, taps, dilation):
    batch, time, channels, features = shape
    x, dy = normal(0, batch, time, channels), normal(1, batch, time, features)
    kernel = normal(2, taps, channels, features)

    @jax.jit
    def run(x, kernel, dy):
        out, vjp = jax.vjp(lambda x, k: convolution.dilated(x, k, dilation), x, kernel)
        expected, expected_vjp = jax.vjp(lambda x, k: convolve(x, k, dilation), x, kernel)
        return out, expected, vjp(dy), expected_vjp(dy)

    out, expected, grads, expected_grads = run(x, kernel, dy)
    close(out, expected, taps * channels)
    close(grads, expected_grads, batch * time)


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(
    ("time", "width", "hidden"), [(900, 64, 48), (20, 64, 600), (3000, 37, 21)]
)
def test_a_residual_block_is_what_it_is_without(key, time, width, hidden):
    block = layers.ResidualBlock(hidden=hidden, dilation=9, scale=0.5)
    x = normal(0, 2, time, width)
    x[0, 0, :5] = 0.0
    shapes = jax.eval_shape(block.init, key(), x)
    params = jax.tree.map(lambda leaf: 0.1 * normal(1, *leaf.shape), shapes)

    def work(params, x):
        out, back = jax.vjp(block.apply, params, x)
        return out, back(jnp.cos(out))

    lowered = jax.jit(work).lower(params, x)
    assert convolution.FORWARD in lowered.as_text()
    with disable_cpu_kernels():
        plain = jax.jit(work).lower(params, x)
        assert convolution.FORWARD not in plain.as_text()
    close(lowered.compile()(params, x), plain.compile()(params, x), 2 * time)


@pytest.mark.usefixtures("needs_compiled")
def test_gives_the_same_bits_each_time():
    x, kernel, vector = normal(0, 2, 5000, 64), normal(1, 3, 64, 64), np.ones(64, np.float32)

    @jax.jit
    def work(*operands):
        out, back = jax.vjp(lambda *a: convolution.residual_block(*a, 3, 0.5), *operands)
        return out, back(out)

    first = work(x, kernel, vector, kernel[0], vector)
    for _ in range(20):
        again = work(x, kernel, vector, kernel[0], vector)
        assert jax.tree.all(jax.tree.map(np.array_equal, first, again))


@pytest.mark.usefixtures("needs_compiled")
def test_operands_that_do_not_fit_are_refused():
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not fit together"):
        convolution.dilated(jnp.ones((1, 50, 8)), jnp.ones((3, 9, 8)), 1)


@pytest.mark.usefixtures("needs_compiled")
def test_what_is_not_finite_is_not_hidden():
    x = jnp.ones((1, 40, 16)).at[0, 20, 3].set(jnp.nan)
    kernel, vector = jnp.ones((1, 16, 16)), jnp.zeros(16)
    out = np.asarray(convolution.residual_block(x, kernel, vector, kernel[0], vector, 1, 1.0))
    assert np.isnan(out[0, 20]).all()
    assert np.isfinite(out[0, 19]).all()


@pytest.mark.usefixtures("needs_compiled")
def test_is_used_for_kernels_that_fit_a_cache_in_float32():
    x, kernel = jnp.zeros((1, 2000, 64)), jnp.zeros((3, 64, 64))
    assert convolution.supports_conv(x, kernel)
    assert not convolution.supports_conv(x.astype(jnp.bfloat16), kernel)
    assert not convolution.supports_conv(x[:, :10], kernel)
    assert not convolution.supports_conv(jnp.zeros((1, 2000, 512)), jnp.zeros((3, 512, 512)))
    with disable_cpu_kernels():
        assert not convolution.supports_conv(x, kernel)
