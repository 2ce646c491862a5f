"""A bundle with every part that a model can have, at the smallest size, of random weights."""

import functools
from pathlib import Path

import jax
import numpy as np

from jukejax.common.config import to_plain
from jukejax.models.conditioners import CodeConditionerConfig, LyricsConfig
from jukejax.models.label_config import LabelConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.models.transformer_config import TransformerConfig
from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights import bundle
from jukejax.weights.codec_identity import identify_codec
from jukejax.weights.part_configs import Config, find_part_shapes

VQVAE = VQVAEConfig(emb_dim=8, codebook_size=16, width=4, depth=1, multipliers=(2, 1, 1))
LABELS = {"max_genres": 2, "timing_bins": 8, "min_duration": 1.0, "max_duration": 60.0}
VOCABULARY = {"artists": ["unknown", "anna", "ben"], "genres": ["unknown", "house"]}
FACTS = {
    "sample_rate": 44100,
    "hops": [8, 32, 128],
    "levels": [0, 1, 2],
    "vocabulary": VOCABULARY,
    "license": "CC0-1.0",
    "provenance": ["random numbers"],
}


def stack(**more) -> TransformerConfig:
    shape = {"emb_dim": 16, "num_layers": 3, "num_heads": 2, "seq_len": 64, "num_blocks": 8}
    return TransformerConfig(**shape | more)


GRID_LABELS = {"tempo_bins": 8, "keys": 24, "bar_bins": 16, "phrase_bars": 4, "turns": 4}


def configs(lyrics: str = "single", grid: bool = False) -> dict[str, Config]:
    """By part; the top level has lyrics of this kind, "single", "separate" or "none"."""
    grid_labels = GRID_LABELS if grid else {}
    labels = LabelConfig(num_artists=3, num_genres=2, **LABELS, **grid_labels)
    vocabulary = {"codebook_size": 16, "labels": labels}
    sung = {
        "none": {"transformer": stack()},
        "single": {
            "transformer": stack(attn_order=12, num_layers=16),
            "lyrics": LyricsConfig("single", num_tokens=8, vocab_size=20),
        },
        "separate": {
            "transformer": stack(attn_order=10, num_layers=19),
            "lyrics": LyricsConfig(
                "separate",
                num_tokens=8,
                vocab_size=20,
                encoder=stack(emb_dim=8, seq_len=8, num_blocks=2),
            ),
            "merged_decoder": True,
        },
    }[lyrics]
    by_part = {
        "vqvae": VQVAE,
        "level_2": PriorConfig(2, hop_length=128, **vocabulary, **sung),
    }
    for level, hop_length in ((1, 32), (0, 8)):
        upper = CodeConditionerConfig(16, downs=2, stride=2, width=8, depth=2, res_scale=level == 1)
        by_part[f"level_{level}"] = PriorConfig(
            level, hop_length=hop_length, transformer=stack(), upper=upper, **vocabulary
        )
    return by_part


def random_weights(config: Config, seed: int = 0, dtype=np.float32) -> dict:
    """{"params", "extra"}, with codebooks as after reading a checkpoint."""
    generator = np.random.default_rng(seed)

    def draw(shape):
        return np.asarray(0.1 * generator.standard_normal(shape.shape), dtype)

    tree = jax.tree.map(draw, find_part_shapes(config))
    for book in tree.get("extra", {}).values():
        vectors = generator.standard_normal(book["codebook"].shape).astype(np.float32)
        book |= {
            "codebook": vectors,
            "codebook_sum": vectors,
            "codebook_count": np.ones(len(vectors), np.float32),
            "initialised": np.array(True),
        }
    return tree


@functools.cache
def identify_vqvae(dtype: type = np.float32) -> dict:
    """The identity of the VQ-VAE that `write` writes."""
    return identify_codec(random_weights(VQVAE, 0, dtype))


def describe(config: Config, dtype: type = np.float32) -> dict:
    if isinstance(config, VQVAEConfig):
        description = {"kind": "vqvae", "hops": list(config.hops), "sample_rate": 44100}
    else:
        description = {"kind": "prior", "level": config.level, "vocabulary": VOCABULARY}
        description["vqvae"] = identify_vqvae(dtype)
    return description | {"config": to_plain(config)}


def write(
    folder: Path,
    lyrics: str = "single",
    dtype=np.float32,
    levels=(0, 1, 2),
    grid: bool = False,
) -> Path:
    """Writes the bundle of `configs` with priors of `levels`; codebooks stay float32."""
    for seed, (part, config) in enumerate(configs(lyrics, grid).items()):
        if part == "vqvae" or config.level in levels:
            weights = random_weights(config, seed, dtype)
            bundle.save_part(folder / part, describe(config, dtype), weights)
    bundle.save_bundle(folder, FACTS | {"levels": list(levels)})
    return folder
