"""Tracks of several lengths, whose samples tell their number and their time."""

import pytest

from jukejax.data import corpus
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from tests.support.ramp_tracks import LENGTHS, make_ramp


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    with DatasetWriter(
        folder, kind="audio", vocabulary=Vocabulary(), shard_bytes=1 << 20, separator="none"
    ) as writer:
        for i, length in enumerate(LENGTHS):
            writer.add("train", corpus.Track(f"t{i}"), audio=make_ramp(i, length, 1 + i % 2))
        writer.add("heldout", corpus.Track("h"), audio=make_ramp(0, 300_000, 2))
    return folder
