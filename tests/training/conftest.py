"""Fixtures for runs that start from trained weights."""

import numpy as np
import pytest

from jukejax.data import corpus, records
from jukejax.data.writer import DatasetWriter
from tests.support import small_bundle
from tests.support.pretrained_run import CORPUS


@pytest.fixture(scope="session")
def artist_codes(tmp_path_factory):
    """Tracks of three artists: one that the bundle knows, and two that it does not."""
    folder = tmp_path_factory.mktemp("codes")
    random = np.random.default_rng(0)
    info = dict(codebook_size=16, vqvae=small_bundle.identify_vqvae())
    with DatasetWriter(folder, kind="codes", vocabulary=CORPUS, **info) as writer:
        for split, artist, genre in (
            ("train", "Anna", ("house",)),
            ("train", "zoe", ("dub", "house")),
            ("train", "", ()),
            ("heldout", "aaron", ("dub",)),
        ):
            levels = {
                f"level_{k}": random.integers(0, 16, 256 * 128 // hop)
                for k, hop in enumerate(records.HOPS)
            }
            writer.add(split, corpus.Track(artist or "none", artist=artist, genre=genre), **levels)
    return folder


@pytest.fixture(scope="session")
def prior_bundle(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("bundle"), lyrics="none")
