"""A folder of code shards without a VQ-VAE: codes drawn at random."""

import os
from pathlib import Path

import numpy as np

from jukejax.data import corpus, vocabularies
from jukejax.data.writer import DatasetWriter


def write_codes(folder: str | os.PathLike, *, tracks: int = 6, seed: int = 0) -> Path:
    """Six to ten seconds each, the first one held out; 32 codes a level."""
    random = np.random.default_rng(seed)
    vocabulary = vocabularies.Vocabulary.build(["a"], ["house"])
    info = {"codebook_size": 32, "vqvae": {"hash": "x"}, "separator": "none", "source": "y"}
    with DatasetWriter(folder, kind="codes", vocabulary=vocabulary, **info) as writer:
        for number in range(tracks):
            top = 2000 + 300 * number
            levels = {
                f"level_{level}": random.integers(0, 32, top * 4 ** (2 - level)).astype(np.uint16)
                for level in range(3)
            }
            track = corpus.Track(f"t{number}", "a", ("house",), content=str(number))
            writer.add("heldout" if number == 0 else "train", track, **levels)
    return Path(folder)
