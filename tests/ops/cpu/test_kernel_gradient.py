"""The compiled gradient of a convolution's kernel against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.cpu import kernel_gradient as ours
from jukejax.ops.formulas import convolve

COMPILED = ours  # what `needs_compiled` asks for


# Pairs of taps, dilation and shape each occur once.
CASES = [
    (1, 1, (1, 1000, 64, 64)),
    (3, 27, (1, 1000, 64, 64)),
    (5, 400, (1, 1000, 64, 64)),
    (3, 1, (3, 128, 8, 32)),
    (5, 27, (3, 128, 8, 32)),
    (1, 400, (2, 257, 1, 33)),
    (5, 1, (2, 257, 1, 33)),
    (3, 400, (1, 5, 9, 1)),
    (1, 27, (1, 5, 9, 1)),
    (3, 1, (2, 300, 192, 70)),
    (5, 27, (2, 300, 192, 70)),
]


def operands(key, batch, time, channels, features):
    x = jax.random.normal(key(), (batch, time, channels))
    return x, jax.random.normal(key(), (batch, time, features))


@pytest.mark.usefixtures("needs_compiled")
@pytest.mark.parametrize(("taps", "dilation", "shape"), CASES)
def test_equals_xla_s(key, shape, taps, dilation):
    x, dy = operands(key, *shape)
    kernel = jnp.zeros((taps, shape[2], shape[3]))
    theirs = jax.vjp(lambda k: convolve(x, k, dilation), kernel)[1](dy)[0]
    found = ours.kernel_gradient(x, dy, taps=taps, dilation=dilation)
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-4 * shape[1] ** 0.5)


@pytest.mark.usefixtures("needs_compiled")
def test_is_as_exact_as_a_float32_sum_can_be(key):
    x, dy = operands(key, 1, 30_000, 16, 16)
    exact = np.asarray(x[0], np.float64).T @ np.asarray(dy[0], np.float64)
    np.testing.assert_allclose(ours.kernel_gradient(x, dy)[0], exact, atol=1e-5 * 30_000**0.5)


@pytest.mark.usefixtures("needs_compiled")
def test_gives_the_same_bits_each_time(key):
    x, dy = operands(key, 2, 5000, 64, 64)
    work = jax.jit(functools.partial(ours.kernel_gradient, taps=3))
    first = np.asarray(work(x, dy))
    assert all(np.array_equal(first, work(x, dy)) for _ in range(20))


@pytest.mark.usefixtures("needs_compiled")
def test_is_used_for_narrow_kernels_in_float32(key):
    def used(x, dy):
        return ours.TARGET in jax.jit(ours.kernel_gradient).lower(x, dy).as_text()

    x, dy = operands(key, 2, 16, 4, 4)
    assert used(x, dy)
    assert not used(x.astype(jnp.bfloat16), dy.astype(jnp.bfloat16))
    assert not used(*operands(key, 1, 2, 512, 512))


@pytest.mark.parametrize("taps", [1, 3])
def test_without_it_products_give_the_same(key, taps):
    x, dy = operands(key, 2, 50, 6, 7)
    kernel = jnp.zeros((taps, 6, 7))
    theirs = jax.vjp(lambda k: convolve(x, k, 4), kernel)[1](dy)[0]
    found = ours.multiply_shifted_copies(x, dy, taps=taps, dilation=4)
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-4)
