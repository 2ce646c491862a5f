"""A VQ-VAE of the smallest size with all its levels, random but able to tell sounds apart."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jukejax.common.config import plain
from jukejax.models.layers import init_params
from jukejax.models.vqvae import VQVAE, VQVAEConfig

CONFIG = VQVAEConfig(emb_dim=4, codebook_size=16, width=4, depth=1, multipliers=(1, 1, 1))
DESCRIPTION = {"kind": "vqvae", "hops": [8, 32, 128], "sample_rate": 44100, "config": plain(CONFIG)}


def weights(seed: int = 0, config: VQVAEConfig = CONFIG) -> dict:
    """{"params", "extra"}; the codes are features of noise, so that none is far from all music."""
    model, random = VQVAE(config), np.random.default_rng(seed)
    noise = jnp.asarray(random.normal(0, 0.2, (1, 4096, 1)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(seed), noise)
    params = nn.meta.unbox(init_params(shapes["params"], jax.random.key(seed)))
    # Small biases: as the network starts, its upper features hardly depend on the sound.
    params = jax.tree.map(lambda leaf: 2 * leaf if leaf.ndim == 3 else leaf / 4, params)
    features = jax.jit(lambda x: model.apply({"params": params}, x, method=VQVAE.features))(noise)
    books = {}
    for level, found in enumerate(features):
        rows = np.asarray(found[0])
        vectors = rows[random.choice(len(rows), config.codebook_size, replace=False)]
        books[f"codebooks_{level}"] = {
            "codebook": vectors,
            "codebook_sum": vectors,
            "codebook_count": np.ones(len(vectors), np.float32),
            "initialised": np.array(True),
        }
    return {"params": jax.tree.map(np.asarray, params), "extra": books}
