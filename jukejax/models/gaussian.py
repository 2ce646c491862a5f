"""The bottleneck of a variational autoencoder, in place of a codebook (Kingma and Welling, 2014).

Letters: B batch, T time, E features of a code.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.layers import Conv

LOG_VARIANCES = (-20.0, 10.0)  # the range in which exp neither vanishes nor overflows


class Posterior(NamedTuple):
    """The distribution of the latents of a batch.

    Attributes:
      latents: float32 [B, T, E]; a sample in training, otherwise the mean.
      divergence: [] Kullback-Leibler divergence from N(0, 1) in nats, summed over E and averaged
        over B and T: the rate of the latents.
    """

    latents: jax.Array
    divergence: jax.Array


class GaussianBottleneck(nn.Module):
    """Maps features [B, T, E] to a Gaussian of latents with independent entries."""

    emb_dim: int

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> Posterior:
        """Computes the posterior; training draws from the random stream "codebook"."""
        moments = Conv(2 * self.emb_dim, taps=1, name="moments")(features)
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        log_variance = jnp.clip(log_variance, *LOG_VARIANCES)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance)
        latents = mean
        if train:
            noise = jax.random.normal(self.make_rng("codebook"), mean.shape)
            latents = mean + jnp.exp(0.5 * log_variance) * noise
        return Posterior(latents, divergence.sum(axis=-1).mean())
