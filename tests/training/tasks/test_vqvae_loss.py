"""The reconstruction loss of the VQ-VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jukejax.models.vqvae import VQVAEOutput
from jukejax.ops import stft
from jukejax.ops.stft import Bandwidth
from jukejax.training.tasks.vqvae_loss import LOG_FLOOR, LossConfig, recons_loss, total_loss


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


def test_log_spectral_is_the_mean_distance_of_log_magnitudes(key):
    """Its weight is 0 by default: then it is neither in the loss nor in the metrics."""
    target, output = (0.1 * jax.random.normal(key(), (2, 2048, 1)) for _ in range(2))
    decoded = VQVAEOutput(audio=(output,), features=(), quantized=None, metrics=(), spectra={})
    scale = Bandwidth(1.0, 1.0, 1.0)
    plain, (terms,) = total_loss(LossConfig(linf_k=16), scale, target, decoded)
    assert "log_spectral" not in terms
    loss = LossConfig(linf_k=16, log_spectral=0.5)
    total, (terms,) = total_loss(loss, scale, target, decoded)
    distances = []
    for resolution in loss.stfts:
        logs = [
            np.log(np.asarray(stft.magnitudes(x[..., 0], resolution), np.float64) + LOG_FLOOR)
            for x in (target, output)
        ]
        distances.append(np.abs(logs[0] - logs[1]).mean())
    assert terms["log_spectral"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert total - plain == pytest.approx(0.5 * np.mean(distances), rel=1e-4)
