"""Power spectra by matrix products against NumPy's FFT."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jukejax
from jukejax.ops import dft


@pytest.mark.parametrize(
    ("n_fft", "window"),
    [(2048, 1200), (1024, 1024), (512, 1), (1000, 700), (100, 33), (6, 5), (2, 2), (35, 30)],
)
def test_power_spectrum_equals_numpys_fft(n_fft, window):
    frames = np.random.default_rng(n_fft).standard_normal((3, window)).astype(np.float32)
    expected = np.abs(np.fft.rfft(frames.astype(np.float64), n_fft)) ** 2
    power = jax.jit(dft.power_spectrum, static_argnums=1)(frames, n_fft)
    assert power.shape == expected.shape
    np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_gradient_equals_that_of_the_fft():
    frames = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((2, 257)).astype(np.float32)

    def with_fft(x):
        return jnp.sum(weights * jnp.square(jnp.abs(jnp.fft.rfft(x, 512))))

    def with_products(x):
        return jnp.sum(weights * dft.power_spectrum(x, 512))

    expected, ours = (jax.jit(jax.grad(f))(frames) for f in (with_fft, with_products))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3)


def test_the_package_calls_no_jax_fft():
    """XLA's CPU runtime of jaxlib 0.11 blocks forever on FFTs that run at once."""
    for path in Path(jukejax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                name = ast.unparse(node)
                assert not name.startswith(("jnp.fft", "lax.fft", "jax.numpy.fft")), (
                    f"{path}: {name}"
                )
