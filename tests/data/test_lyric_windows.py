"""Lyrics in the labels of code windows, and in the description of their tracks."""

import numpy as np
import pytest

from jukejax.data import corpus, lyrics, pipeline
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.models.label_config import LabelConfig


@pytest.mark.parametrize("alphabet", ["v2", "v3", "unicode"])
@pytest.mark.parametrize("grid", [False, True])
def test_labels_end_with_the_lyrics_of_each_crop_and_code_offset(tmp_path, alphabet, grid):
    text = "".join(chr(ord("a") + i % 26) for i in range(800)) + " ä夜"
    with DatasetWriter(
        tmp_path,
        kind="codes",
        vocabulary=Vocabulary.build(["A"], [], [text]),
        codebook_size=2048,
        vqvae={"hash": "x"},
    ) as writer:
        for offset, words in ((0, text), (64, text), (0, "short"), (0, "")):
            levels = {
                f"level_{k}": np.zeros(3000 * 128 // h, int) for k, h in enumerate((8, 32, 128))
            }
            writer.add("train", corpus.Track("t", "A", offset=offset, lyrics=words), **levels)
    dataset = corpus.open_dataset(tmp_path)
    reader = lyrics.LyricsReader(
        lyrics.find_alphabet(alphabet, 0, dataset.vocabulary.characters), num_tokens=100
    )
    sizes = LabelConfig(2, 1, max_genres=2, keys=24 if grid else 0)
    iterator = pipeline.read_code_batches(
        tmp_path,
        "train",
        level=2,
        seq_len=500,
        sizes=sizes,
        lyrics_reader=reader,
        batching=pipeline.Batching(batch_size=8, seed=1),
    )
    windows = set()
    for batch, _ in zip(iterator, range(5), strict=False):
        assert batch["labels"].shape == (8, sizes.width + 100)
        for track, label in zip(batch["track"], batch["labels"], strict=True):
            words = dataset.tracks("train")[track].lyrics
            total, offset, length = map(int, label[:3])
            tokens = reader.alphabet.encode(reader.alphabet.clean(words))
            middle = int(len(tokens) * (offset + length / 2) / total)
            start = min(max(middle - 50, 0), max(len(tokens) - 100, 0))
            expected = tokens[start : start + 100]
            assert label[-100:].tolist() == [0] * (100 - len(expected)) + expected
            windows.add((int(track), start))
    assert {track for track, _ in windows} == {0, 1, 2, 3}
    assert len(windows) > 10
    assert text.endswith(reader.alphabet.decode(reader.encode(text)[-2:])) == (
        alphabet == "unicode"
    )


def write_tracks(folder, tracks):
    with DatasetWriter(
        folder, kind="codes", vocabulary=Vocabulary(), codebook_size=2048, vqvae={"hash": "x"}
    ) as writer:
        for track in tracks:
            levels = {f"level_{k}": np.zeros(76_800 // h, int) for k, h in enumerate((8, 32, 128))}
            writer.add("train", track, **levels)


def test_tracks_without_lyrics_are_described_as_before(tmp_path):
    sung = corpus.Track("sung", lyrics="la la", lyric_times=((0, 1.5), (3, 2.0)))
    write_tracks(tmp_path, [corpus.Track("none"), sung])
    dataset = corpus.open_dataset(tmp_path)
    first, second = dataset.info["splits"]["train"]["tracks"]
    assert not {"lyrics", "lyric_times"} & first.keys()
    assert second["lyrics"] == "la la"
    assert dataset.tracks("train")[1].lyric_times == ((0, 1.5), (3, 2.0))
    assert dataset.tracks("train")[1].shift_lyric_times(4410, 44100) == ((0, 1.4), (3, 1.9))


def test_times_of_letters_that_do_not_exist_are_refused(tmp_path):
    tracks = [corpus.Track("t", lyrics="la la", lyric_times=((5, 1.0),))]
    with pytest.raises(ValueError, match=r"lyric_times has character 5 of lyrics of 5; rerun"):
        write_tracks(tmp_path, tracks)
