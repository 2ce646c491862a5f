"""The reconstruction loss of the VQ-VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.ops.stft import Bandwidth
from jukejax.training.tasks.vqvae_loss import LossConfig, recons_loss


def test_lmix_is_the_weighted_sum_of_its_terms_in_units_of_the_bandwidth(key):
    target, output = (jax.random.normal(key(), (2, 100, 1)) for _ in range(2))
    loss = LossConfig(lmix_l1=0.5, lmix_l2=2.0, lmix_linf=0.25, linf_k=10)
    scale = Bandwidth(l1=0.2, l2=0.05, spec=30.0)
    residual = np.abs(np.asarray(output - target))
    largest = np.sort(residual.reshape(2, -1) ** 2)[:, -10:].mean()
    expected = 0.5 * residual.mean() / 0.2 + 2.0 * (residual**2).mean() / 0.05
    expected += 0.25 * largest / 0.05
    loss_value = recons_loss("lmix", loss, scale, jnp.asarray(target), jnp.asarray(output))
    assert loss_value == pytest.approx(expected, rel=1e-5)
