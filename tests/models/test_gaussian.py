"""The KL bottleneck: its divergence by the formula, its noise, and a VQ-VAE with it."""

import jax
import numpy as np
import pytest

from jukejax.models.gaussian import LOG_VARIANCES, GaussianBottleneck
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.ops.stft import Bandwidth
from jukejax.training.tasks import vqvae_loss
from jukejax.weights.openai import vqvae as openai_vqvae

CONFIG = VQVAEConfig(
    downs=(1, 1),
    strides=(4, 2),
    emb_dim=3,
    codebook_size=8,
    width=4,
    depth=1,
    multipliers=(1, 1),
    bottleneck="kl",
)


def test_latents_are_normal_around_the_mean_and_the_divergence_is_in_closed_form():
    """Features pass as moments: the kernel is the identity."""
    module = GaussianBottleneck(2)
    params = {"moments": {"kernel": np.eye(4, dtype=np.float32)[None], "bias": np.zeros(4)}}
    features = np.array([[[1.0, -2.0, 0.5, -1.0]]], np.float32)
    features = np.broadcast_to(features, (1, 20_000, 4))

    @jax.jit
    def run(features, key):
        exact = module.apply({"params": params}, features)
        drawn = module.apply({"params": params}, features, train=True, rngs={"codebook": key})
        return exact, drawn

    exact, drawn = jax.device_get(run(features, jax.random.key(0)))
    mean, log_variance = np.array([1.0, -2.0]), np.array([0.5, -1.0])
    expected = 0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance)
    np.testing.assert_allclose(exact.divergence, expected, rtol=1e-5)
    np.testing.assert_allclose(drawn.divergence, expected, rtol=1e-5)
    np.testing.assert_allclose(exact.latents[0, 0], mean, rtol=1e-6)
    np.testing.assert_allclose(drawn.latents[0].mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(drawn.latents[0].var(axis=0), np.exp(log_variance), rtol=0.05)


def test_extreme_variances_stay_finite():
    module = GaussianBottleneck(1)
    params = {"moments": {"kernel": np.eye(2, dtype=np.float32)[None], "bias": np.zeros(2)}}
    for log_variance in (-1e6, 1e6):
        features = np.array([[[0.0, log_variance]]], np.float32)
        posterior = module.apply({"params": params}, features)
        bounded = np.clip(log_variance, *LOG_VARIANCES)
        expected = 0.5 * (np.exp(bounded) - 1 - bounded)
        np.testing.assert_allclose(posterior.divergence, expected, rtol=1e-5)


def test_the_loss_of_a_vae_has_its_weighted_divergence_and_no_codebook():
    model, audio = VQVAE(CONFIG), np.random.default_rng(0).normal(size=(1, 2048, 1))
    audio = audio.astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), audio)
    assert set(variables) == {"params"}
    output = jax.jit(model.apply)(variables, audio)
    assert output.quantized is None

    def compute_loss(weight):
        loss = vqvae_loss.LossConfig(linf_k=8, kl=weight)
        return vqvae_loss.total_loss(loss, Bandwidth(1.0, 1.0, 1.0), audio, output)

    without, levels = compute_loss(0.0)
    with_divergence, _ = compute_loss(2.0)
    total = sum(posterior.divergence for posterior in output.posteriors)
    np.testing.assert_allclose(with_divergence - without, 2.0 * total, rtol=1e-3)
    for parts, posterior in zip(levels, output.posteriors, strict=True):
        np.testing.assert_allclose(parts["kl_bits"], posterior.divergence / np.log(2), rtol=1e-6)


def test_other_bottlenecks_are_named_and_old_files_read():
    assert VQVAEConfig(bottleneck=True).bottleneck == "vq"
    assert VQVAEConfig(bottleneck=False).bottleneck == "none"
    with pytest.raises(ValueError, match="bottleneck is 'vae'; known: vq, kl, none"):
        VQVAEConfig(bottleneck="vae")
    with pytest.raises(ValueError, match="OpenAI's code has no VQ-VAE with a KL bottleneck"):
        list(openai_vqvae.vqvae_entries(CONFIG))
