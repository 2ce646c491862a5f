"""A dataset.json that is damaged or contradicts itself is one line with file, field and value."""

import pytest

from jukejax.common import files
from jukejax.data import corpus
from tests.support.json_fields import change_field
from tests.support.small_audio import write_audio
from tests.support.small_codes import write_codes


@pytest.fixture(scope="module")
def audio_folder(tmp_path_factory):
    lengths = {"train": (0.5, 0.2), "heldout": (0.3,)}
    return write_audio(tmp_path_factory.mktemp("audio"), lengths)


@pytest.fixture(scope="module")
def code_folder(tmp_path_factory):
    return write_codes(tmp_path_factory.mktemp("codes"), tracks=2)


def open_changed(source, folder, path, value):
    """Opens a copy of dataset.json without a field, or with another value of it."""
    info = change_field(files.read_json(source / "dataset.json"), path, value)
    files.write_json(folder / "dataset.json", info)
    return corpus.open_dataset(folder)


TRACK, SHARD = ("splits", "train", "tracks", 1), ("splits", "train", "shards", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sample_rate",), None, "dataset.json lacks sample_rate"),
        (("sample_rate",), "44100", "dataset.json.sample_rate is '44100', not an integer"),
        (("sample_rate",), -1, "dataset.json.sample_rate is -1, must be positive"),
        (("format",), 2, "dataset.json is of format 2, this version reads format 1"),
        (("kind",), "video", "kind is 'video', not one of audio, codes"),
        (("hops",), [8, 20], "hops is (8, 20), not a rising sequence such as (8, 32, 128)"),
        (("hops",), [], "hops is (), not a rising sequence"),
        (("chunk_samples",), 1000, "chunk_samples is 1000, not 131072"),
        (("splits",), [], "splits is [], not an object"),
        (("splits", "heldout"), None, "splits has train, not train, heldout"),
        (("splits", "train", "shards"), 7, "splits.train.shards is 7, not a list"),
        ((*SHARD, "file"), "../other.tfrecord", "shards[0].file is '../other.tfrecord', not the"),
        ((*SHARD, "bytes"), None, "splits.train.shards[0] lacks bytes"),
        ((*SHARD, "records"), -2, "shards[0] has -2 records"),
        ((*TRACK, "name"), None, "splits.train.tracks[1] lacks name"),
        ((*TRACK, "genre"), 3, "splits.train.tracks[1].genre is 3, not a list"),
        ((*TRACK, "bpm"), "fast", "splits.train.tracks[1].bpm is 'fast', not a number"),
        ((*TRACK, "shard"), 9, "splits.train.tracks[1].shard is 9, and the split has 1 shard"),
        ((*TRACK, "first_record"), 5, "has the records 5 to 6 of a shard of 2"),
        ((*TRACK, "samples"), 10**12, "has 1000000000000 samples from 0 on in 1 records"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(audio_folder, tmp_path, path, value, message):
    with pytest.raises(ValueError, match=r"dataset\.json") as error:
        open_changed(audio_folder, tmp_path, path, value)
    assert message in str(error.value)


@pytest.mark.parametrize("value", [None, 0, 10**9])
def test_codes_need_a_codebook_size(code_folder, tmp_path, value):
    with pytest.raises(ValueError, match=rf"codebook_size is {value}, not 1 to 65536; rerun"):
        open_changed(code_folder, tmp_path, ("codebook_size",), value)


def test_fields_of_newer_versions_are_ignored(audio_folder, tmp_path):
    dataset = open_changed(audio_folder, tmp_path, ("newer",), {"a": 1})
    assert dataset.info["newer"] == {"a": 1}
    open_changed(audio_folder, tmp_path, (*TRACK, "newer"), "x")
