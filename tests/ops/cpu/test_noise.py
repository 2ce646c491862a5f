"""Compiled noise against its plain definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.cpu import noise as cpu_noise
from jukejax.ops.cpu.switch import disable_cpu_kernels
from jukejax.ops.noise import gumbel_noise

COMPILED = cpu_noise  # what `needs_compiled` asks for
pytestmark = pytest.mark.usefixtures("needs_compiled")
draw = jax.jit(gumbel_noise, static_argnums=2)


@pytest.mark.parametrize("vocab_size", [1, 2, 7, 16, 33, 63, 2048, 20_001])
def test_noise_is_that_of_the_plain_definition(vocab_size):
    keys = jax.random.split(jax.random.key(3), 3)
    for positions in (np.arange(-2, 3), np.array([[0, 5, -7], [2**31 - 1, -(2**31), 9]])):
        positions = jnp.asarray(positions, jnp.int32)
        assert cpu_noise.TARGET in draw.lower(keys, positions, vocab_size).as_text()
        noise = draw(keys, positions, vocab_size)
        with disable_cpu_kernels():
            expected = draw(keys, positions, vocab_size)
        assert noise.shape == (len(positions), 3, vocab_size)
        np.testing.assert_allclose(noise, expected, rtol=1e-6, atol=1e-6)


def test_the_largest_and_smallest_noise_are_exact():
    """Of 2^21 numbers the largest is near that of the last uniform number, 1 - 2^-23."""
    keys = jax.random.split(jax.random.key(0), 1)
    noise = draw(keys, jnp.arange(32), 1 << 16)
    with disable_cpu_kernels():
        expected = draw(keys, jnp.arange(32), 1 << 16)
    assert noise.max() > 13
    assert noise.min() < -2.5
    np.testing.assert_allclose(noise, expected, rtol=1e-6, atol=1e-6)


def test_other_generators_use_the_plain_definition():
    assert cpu_noise.supports_keys(jax.random.split(jax.random.key(0), 2))
    assert not cpu_noise.supports_keys(jax.random.split(jax.random.key(0, impl="rbg"), 2))
