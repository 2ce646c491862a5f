"""A bundle whose top prior has lyrics of an alphabet of its own, and code shards with lyrics."""

import dataclasses
from pathlib import Path

import numpy as np

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.models.conditioners import LyricsConfig
from jukejax.models.prior_config import PriorConfig
from jukejax.weights import bundle
from tests.support import small_bundle

TEXTS = ("la li lo\nna ni no", "so sa si la lo li", "")
CHARACTERS = "\n ailnos"
TOP = 150  # codes of a track: two windows and a half


def make_config(kind: str = "single", **lyrics) -> PriorConfig:
    """Returns the prior of the top level with two layers that attend to lyrics."""
    config = small_bundle.configs("none")["level_2"]
    if kind == "single":
        changes = {"transformer": small_bundle.stack(attn_order=0, num_layers=2)}
        sung = LyricsConfig("single", 8, 1 + len(CHARACTERS), alphabet="unicode", **lyrics)
    else:
        encoder = small_bundle.stack(emb_dim=8, seq_len=8, num_blocks=2)
        changes = {"transformer": small_bundle.stack(attn_order=6, num_layers=8)}
        sung = LyricsConfig(
            "separate", 8, 1 + len(CHARACTERS), encoder=encoder, alphabet="unicode", **lyrics
        )
    return dataclasses.replace(config, lyrics=sung, **changes)


def write_bundle(folder: Path, kind: str = "single", **lyrics) -> Path:
    """Writes the VQ-VAE of `small_bundle` and the prior of `make_config`."""
    config = make_config(kind, **lyrics)
    vocabulary = small_bundle.VOCABULARY | {"characters": CHARACTERS}
    for part, model in (("vqvae", small_bundle.VQVAE), ("level_2", config)):
        description = small_bundle.describe(model)
        if part == "level_2":
            description["vocabulary"] = vocabulary
        seed = 0 if part == "vqvae" else 1
        bundle.save_part(folder / part, description, small_bundle.random_weights(model, seed))
    bundle.save_bundle(folder, small_bundle.FACTS | {"levels": [2], "vocabulary": vocabulary})
    return folder


def write_codes(folder: Path) -> Path:
    """Writes held-out tracks with `TEXTS`; the times of the first two words are known."""
    random = np.random.default_rng(0)
    vocabulary = Vocabulary.build(["anna"], ["house"], TEXTS)
    info = {"codebook_size": 16, "vqvae": small_bundle.identify_vqvae()}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for number, text in enumerate(TEXTS):
            levels = {f"level_{k}": random.integers(0, 16, TOP * 4 ** (2 - k)) for k in range(3)}
            track = corpus.Track(
                f"h{number}",
                "anna",
                ("house",),
                content=str(number),
                lyrics=text,
                lyric_times=((0, 0.05), (3, 0.2)) if text else (),
            )
            writer.add("heldout", track, **levels)
    return folder
