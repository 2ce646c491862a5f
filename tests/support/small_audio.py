"""A folder of audio shards: noise."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter


def write_audio(folder: str | os.PathLike, lengths: Mapping[str, Sequence[float]]) -> Path:
    """Writes tracks of `lengths` in seconds, by split; every second one is stereo."""
    random = np.random.default_rng(0)
    vocabulary = Vocabulary.build(["A"], ["house"])
    with DatasetWriter(folder, kind="audio", vocabulary=vocabulary, separator="none") as writer:
        for split, seconds in lengths.items():
            for i, length in enumerate(seconds):
                sound = random.integers(-9000, 9000, (int(length * 44100), 1 + i % 2))
                track = corpus.Track(f"{split}{i}", artist="A", genre=("house",))
                writer.add(split, track, audio=sound.astype(np.int16))
    return Path(folder)
