"""musicnn, a tagger of music: features and tag probabilities from mel spectrograms.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR
2019 late breaking). A front end of wide filters (tall ones for timbre, long ones for rhythm), three
dense layers over time, maximum and mean over 3 s, and one hidden layer. For inference with the
released weights only: no dropout, and batch norm by its stored statistics, after the ReLU.

Letters: B examples, T frames, M mel bands, C channels. Kernels are [time, mel, in, out].
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

FEATURES, TAGS = 200, 50
# Of the model trained on the Million Song Dataset, in the order of its outputs.
TAG_NAMES = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip
_EPSILON = 1e-3  # of batch norm, TensorFlow's default

Weights = Mapping[str, jax.Array]


@jax.jit
def compute_tags(weights: Weights, mel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes (features [B, 200], tag probabilities [B, 50]) from spectrograms [B, T, M]."""
    x = _norm(weights, "batch_normalization", mel[..., None])
    timbre = jnp.pad(x, ((0, 0), (3, 3), (0, 0), (0, 0)))
    front = [_max_over_bands(weights, i, timbre, "VALID") for i in (0, 1)]
    front += [_max_over_bands(weights, i, x, "SAME") for i in (2, 3, 4)]
    layers = [jnp.concatenate(front, axis=-1)]  # [B, T, 561]
    for i in (5, 6, 7):
        padded = jnp.pad(layers[-1], ((0, 0), (3, 3), (0, 0)))[..., None]
        y = _conv(weights, i, padded, "VALID")[:, :, 0]  # the kernel spans all channels
        layers.append(y if i == 5 else y + layers[-1])
    features = jnp.concatenate(layers, axis=-1)  # [B, T, 753]
    pooled = jnp.stack([features.max(axis=1), features.mean(axis=1)], axis=-1)
    flat = _norm(weights, "batch_normalization_9", pooled.reshape(len(mel), -1))
    hidden = jax.nn.relu(flat @ weights["dense/kernel"] + weights["dense/bias"])
    hidden = _norm(weights, "batch_normalization_10", hidden)
    logits = hidden @ weights["dense_1/kernel"] + weights["dense_1/bias"]
    return hidden, jax.nn.sigmoid(logits)


def _max_over_bands(weights: Weights, number: int, x: jax.Array, padding: str) -> jax.Array:
    """Computes the maximum of each filter's output over all mel bands, [B, T, C]."""
    return _conv(weights, number, x, padding).max(axis=2)


def _conv(weights: Weights, number: int, x: jax.Array, padding: str) -> jax.Array:
    """Applies convolution, ReLU and batch norm. [B, T, M, 1] -> [B, T', M', C]."""
    name = f"conv2d_{number}" if number else "conv2d"
    y = lax.conv_general_dilated(
        x, weights[f"{name}/kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return _norm(
        weights, f"batch_normalization_{number + 1}", jax.nn.relu(y + weights[f"{name}/bias"])
    )


def _norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Applies batch norm by its stored statistics."""
    scale = weights[f"{name}/gamma"] * lax.rsqrt(weights[f"{name}/moving_variance"] + _EPSILON)
    return (x - weights[f"{name}/moving_mean"]) * scale + weights[f"{name}/beta"]
