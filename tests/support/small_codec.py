"""A VQ-VAE of the smallest size with all its levels, random but able to tell sounds apart."""

import functools

import flax.linen as nn
import jax
import numpy as np

from jukejax.common.config import to_plain
from jukejax.models.layers import init_params
from jukejax.models.vqvae import VQVAE
from jukejax.models.vqvae_config import VQVAEConfig

CONFIG = VQVAEConfig(emb_dim=4, codebook_size=16, width=4, depth=1, multipliers=(1, 1, 1))
DESCRIPTION = {
    "kind": "vqvae",
    "hops": [8, 32, 128],
    "sample_rate": 44100,
    "config": to_plain(CONFIG),
}


def weights(seed: int = 0, config: VQVAEConfig = CONFIG) -> dict:
    """{"params", "extra"}; the codes are features of noise, so that none is far from all music."""
    return jax.tree.map(np.copy, _make_weights(seed, config))


@functools.cache
def _make_weights(seed: int, config: VQVAEConfig) -> dict:
    model, random = VQVAE(config), np.random.default_rng(seed)
    noise = random.normal(0, 0.2, (1, 4096, 1)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(seed), noise)
    init = jax.jit(lambda key: nn.meta.unbox(init_params(shapes["params"], key)))
    params = jax.tree.map(np.asarray, init(jax.random.key(seed)))
    # Small biases: as the network starts, its upper features hardly depend on the sound.
    params = jax.tree.map(lambda leaf: 2 * leaf if leaf.ndim == 3 else leaf / 4, params)
    compute = functools.partial(model.apply, {"params": params}, method=VQVAE.compute_features)
    features = jax.jit(compute)(noise)
    books = {}
    for level, level_features in enumerate(features):
        rows = np.asarray(level_features[0])
        vectors = rows[random.choice(len(rows), config.codebook_size, replace=False)]
        books[f"codebooks_{level}"] = {
            "codebook": vectors,
            "codebook_sum": vectors,
            "codebook_count": np.ones(len(vectors), np.float32),
            "initialised": np.array(True),
        }
    return {"params": params, "extra": books}
