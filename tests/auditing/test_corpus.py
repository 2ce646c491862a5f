"""Indexes that are damaged are made again, and named."""

import numpy as np
import pytest

from jukejax.auditing.corpus import AudioCorpus, CodeCorpus
from jukejax.data import corpus
from tests.support.small_audio import write_audio
from tests.support.small_codes import write_codes

HEAD = 40  # bytes that are left of a damaged file


@pytest.mark.parametrize("name", ["index.npz", "heldout.json"])
def test_a_damaged_index_of_recordings_is_made_again(tmp_path, capsys, name):
    dataset = corpus.open_dataset(write_audio(tmp_path / "d", {"train": (2,), "heldout": (1,)}))
    before = AudioCorpus(dataset, tmp_path / "audit")
    (path,) = (tmp_path / "audit").glob(f"recordings-*/{name}")
    content = path.read_bytes()
    path.write_bytes(content[: min(HEAD, len(content) - 4)])
    capsys.readouterr()
    after = AudioCorpus(dataset, tmp_path / "audit")
    assert f"{path} is damaged" in capsys.readouterr().err
    assert path.read_bytes() == content
    assert after.thresholds == before.thresholds


@pytest.mark.parametrize("name", ["text.npy", "order.npy", "starts.npy", "heldout_runs.json"])
def test_a_damaged_index_of_codes_is_made_again(tmp_path, capsys, name):
    dataset = corpus.open_dataset(write_codes(tmp_path / "d"))
    CodeCorpus(dataset, tmp_path / "audit")
    (path,) = (tmp_path / "audit").glob(f"codes-*/{name}")
    content = path.read_bytes()
    path.write_bytes(content[:HEAD])
    capsys.readouterr()
    again = CodeCorpus(dataset, tmp_path / "audit")
    assert "is damaged" in capsys.readouterr().err
    assert path.read_bytes() == content
    np.testing.assert_array_equal(again.read_track(0), dataset.read_codes("train", 0)[2])
