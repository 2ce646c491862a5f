"""Mixtures of corpora: shares in every stretch of visits, exact resuming, united names."""

import json
from fractions import Fraction

import numpy as np
import pytest

from jukejax.data import corpus, mixture, pipeline
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter

WINDOW = 1000


def write_corpus(folder, value, *, tracks=3, windows=4, artist="a", characters="", **changes):
    """Tracks of a constant sound, from which the corpus can be read; one more is held out."""
    vocabulary = Vocabulary(("unknown", artist), ("unknown", "house"), characters)
    options = dict(kind="audio", vocabulary=vocabulary, separator="none") | changes
    with DatasetWriter(folder, **options) as writer:
        for number in range(tracks + 1):
            track = corpus.Track(f"t{number}", artist, ("house",), content=f"{folder} {number}")
            sound = np.full((windows * WINDOW, 1), value, np.int16)
            writer.add("heldout" if number == tracks else "train", track, audio=sound)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    return (
        write_corpus(root / "first", 1000, artist="Zoe", characters="ab"),
        write_corpus(root / "second", 2000, tracks=40, artist="Anna", characters="bc"),
        write_corpus(root / "third", 3000, artist="zoe"),
    )


def read(text, split="train", **changes):
    batching = pipeline.Batching(**dict(batch_size=10, num_threads=1) | changes)
    return pipeline.read_audio_batches(text, split, window=WINDOW, batching=batching)


def count_sources(batch):
    values = np.rint(batch["audio"][:, 0, 0] * 32768).astype(int)
    return [int((values == 1000 * number).sum()) for number in (1, 2, 3)]


def test_shares_hold_in_every_batch_whatever_the_sizes(folders):
    batches = read(f"{folders[0]}:3,{folders[1]}:1,{folders[2]}")
    counts = np.array([count_sources(next(batches)) for _ in range(20)])
    np.testing.assert_array_equal(counts.sum(axis=0), [120, 40, 40])
    assert (np.abs(counts - [6, 2, 2]) <= 1).all()


def test_each_corpus_has_epochs_of_its_own(folders):
    dataset = mixture.open_folders(f"{folders[0]}:0.5,{folders[1]}:0.5")
    order = mixture.make_order(dataset, "train", WINDOW, seed=1)
    visits = [order.window(visit) for visit in range(48)]
    first = [window for window in visits if window < 12]
    assert len(first) == 24
    assert sorted(first[:12]) == sorted(first[12:]) == list(range(12))
    assert first[:12] != first[12:]
    second = [window for window in visits if window >= 12]
    assert len(set(second)) == 24
    assert mixture.count_epoch(dataset, "train", WINDOW) == 24


@pytest.mark.parametrize("shares", [(1, 1), (1, 3), (7, 2, 1), (1, 1, 1, 1), (99, 1)])
def test_visits_of_a_part_are_numbered_without_gaps(shares):
    shares = [Fraction(share, sum(shares)) for share in shares]
    numbers = [[] for _ in shares]
    for visit in range(500):
        part, number = mixture.find_part(shares, visit)
        numbers[part].append(number)
        for share, own in zip(shares, numbers, strict=True):
            assert abs(len(own) - (visit + 1) * share) < len(shares)
    assert all(own == list(range(len(own))) for own in numbers)


def test_a_resumed_mixture_continues_exactly(folders):
    text = f"{folders[0]}:0.7,{folders[1]}:0.3"
    batches = read(text, aug_blend=True)
    for _ in range(3):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    rest = [next(batches) for _ in range(4)]
    resumed = read(text, aug_blend=True)
    resumed.set_state(state)
    for batch in rest:
        again = next(resumed)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_names_are_united_and_held_out_music_is_of_all(folders):
    dataset = mixture.open_folders(f"{folders[0]},{folders[1]},{folders[2]}")
    assert dataset.vocabulary.artists == ("unknown", "Anna", "Zoe")
    assert dataset.vocabulary.characters == "abc"
    names = [track.name for track in dataset.tracks("heldout")]
    assert names == ["first/t3", "second/t40", "third/t3"]
    for track, value in enumerate((1000, 2000, 3000)):
        assert (dataset.read_track("heldout", track) == np.float32(value / 32768)).all()
    counts = [
        count_sources(batch)
        for batch in read(dataset.folder, "heldout", shuffle=False, repeat=False, batch_size=4)
    ]
    np.testing.assert_array_equal(np.sum(counts, axis=0), [4, 4, 4])


def test_a_single_folder_is_itself_and_weights_are_part_of_the_hash(folders):
    plain = corpus.open_dataset(folders[0])
    assert mixture.open_folders(folders[0]).corpus_hash == plain.corpus_hash
    assert not isinstance(mixture.open_folders(f"{folders[0]}:2"), mixture.Mixture)
    hashes = {
        mixture.open_folders(text).corpus_hash
        for text in (
            f"{folders[0]}:1,{folders[1]}:2",
            f"{folders[0]}:2,{folders[1]}:4",
            f"{folders[0]}:2,{folders[1]}:1",
        )
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:0,b", "the weight of a must be above 0"),
        ("a:inf,b", "the weight of a must be above 0"),
        ("a,,b", "empty name"),
        ("a:1,./a:2", "names a folder twice"),
    ],
)
def test_bad_mixtures_are_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        mixture.parse_folders(text)


def test_a_bucket_has_a_colon_that_is_no_weight():
    folders = mixture.parse_folders("gs://mine/a,s3://yours/b:0.5")
    assert folders == [("gs://mine/a", 1.0), ("s3://yours/b", 0.5)]


def test_corpora_of_different_kinds_are_refused(folders, tmp_path):
    write_corpus(tmp_path / "slow", 1, sample_rate=22050)
    with pytest.raises(ValueError, match=r"slow has sample_rate 22050, and .*first 44100"):
        mixture.open_folders(f"{folders[0]},{tmp_path / 'slow'}")
    write_corpus(tmp_path / "short", 1, windows=0)
    with pytest.raises(ValueError, match=r"short has no train track of 1000 samples"):
        next(read(f"{folders[0]},{tmp_path / 'short'}"))
