"""The command: audio shards to code shards, once, with several offsets, killed or not."""

import dataclasses
import errno
import signal

import numpy as np
import pytest

from jukejax import encode
from jukejax.common import files
from jukejax.data import corpus, pipeline
from jukejax.data.vocabularies import Vocabulary
from jukejax.data.writer import DatasetWriter
from jukejax.inference import codec
from jukejax.weights import bundle
from tests.support import small_codec
from tests.support.command import run, stop_when

SECONDS = {"train": (14.0, 0.5, 3.0), "heldout": (1.0,)}


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "vqvae"
    bundle.save_part(folder, small_codec.DESCRIPTION, small_codec.weights())
    return folder


@pytest.fixture(scope="module")
def made(vqvae):
    return codec.Codec.load(vqvae)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    vocabulary = Vocabulary.build(["A"], ["house"])
    with DatasetWriter(folder, kind="audio", vocabulary=vocabulary, separator="none") as writer:
        for split, lengths in SECONDS.items():
            for i, seconds in enumerate(lengths):
                sound = random.integers(-9000, 9000, (int(seconds * 44100), 1 + i % 2))
                track = corpus.Track(f"{split}{i}", artist="A", genre=("house",))
                writer.add(split, track, audio=sound.astype(np.int16))
    return folder


@pytest.fixture(scope="module")
def dataset(folder):
    return corpus.open_dataset(folder)


def write_all(made, dataset, output, offsets=1):
    todo = encode.pieces(dataset, offsets)
    with files.lock_output(output, "encode") as kept:
        encode.encode(made, todo, kept, batch_size=2)
        info = encode.info_of(dataset, made, offsets)
        encode.write(output, todo, kept, info, dataset.vocabulary)
        files.clear_work(kept)
    return corpus.open_dataset(output)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_each_offset_of_a_training_track_is_the_track_without_its_start(made, dataset, tmp_path):
    codes = write_all(made, dataset, tmp_path, offsets=3)
    assert codes.info["offsets"] == 3
    assert codes.info["vqvae"] == {"hash": made.hash}
    assert codes.info["source"] == dataset.corpus_hash
    rows = [(track.name, track.offset) for track in codes.tracks("train")]
    assert rows == [(f"train{i}", offset) for i in range(3) for offset in (0, 42, 85)]
    assert [(track.name, track.offset) for track in codes.tracks("heldout")] == [("heldout0", 0)]
    for i, track in enumerate(codes.tracks("train")):
        sound = dataset.read_track("train", i // 3)[track.offset :].mean(axis=1)
        assert track.samples == len(sound) // 128 * 128
        ((_, expected),) = made.encode_all([codec.Array(sound)], batch_size=2)
        for level, whole in zip(codes.read_codes("train", i), expected, strict=True):
            np.testing.assert_array_equal(level, whole)
    first, shifted = (codes.read_codes("train", i)[2] for i in range(2))
    assert np.mean(first[: len(shifted)] == shifted) < 0.9  # another phase, other codes


def test_windows_of_an_offset_are_labelled_by_the_whole_track(made, dataset, tmp_path):
    write_all(made, dataset, tmp_path, offsets=2)
    windows = pipeline.read_code_batches(
        tmp_path,
        "train",
        level=2,
        seq_len=100,
        batching=pipeline.Batching(batch_size=1, shuffle=False, repeat=False),
    )
    found = {}
    for batch in windows:
        found.setdefault(int(batch["track"][0]), tuple(batch["labels"][0, :3].tolist()))
    whole = 617_400 // 128 * 128
    assert found[0] == (whole, 0, 12_800)
    assert found[1] == ((617_400 - 64) // 128 * 128 + 64, 64, 12_800)


def test_only_what_is_not_kept_is_encoded(made, dataset, tmp_path, monkeypatch):
    todo = encode.pieces(dataset, 2)
    with files.lock_output(tmp_path, "encode") as kept:
        assert encode.encode(made, todo[:3], kept, 2) == sum(p.samples for p in todo[:3]) / 44100
        damaged = todo[1].kept(kept, made.hash)
        damaged.write_bytes(damaged.read_bytes()[:-200])
        asked = []

        def remember(pieces, **options):
            asked.extend(pieces)
            return codec.Codec.encode_all(made, pieces, **options)

        monkeypatch.setattr(made, "encode_all", remember, raising=False)
        encode.encode(made, todo, kept, 2)
        assert asked == [todo[1], *todo[3:]]
        asked.clear()
        encode.encode(made, todo, kept, 2)
        assert not asked


def test_codes_are_kept_apart_by_model_corpus_track_and_offset(dataset, tmp_path):
    pieces = encode.pieces(dataset, 4)
    other = dataclasses.replace(dataset, info=dataset.info | {"corpus_hash": "another"})
    paths = {piece.kept(tmp_path, model) for piece in pieces for model in ("a", "b")}
    paths |= {piece.kept(tmp_path, "a") for piece in encode.pieces(other, 4)}
    assert len(paths) == 3 * len(pieces) == 3 * 13


def test_a_full_disk_ends_with_one_line_and_leaves_what_is_done(
    made, dataset, tmp_path, monkeypatch
):
    todo, whole = encode.pieces(dataset, 1), files.write_bytes
    left = iter(range(2))

    def full(path, data):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, data)

    monkeypatch.setattr(files, "write_bytes", full)
    with (
        pytest.raises(ValueError, match=r"the disk of .* is full; make room and run again"),
        files.lock_output(tmp_path, "encode") as kept,
    ):
        encode.encode(made, todo, kept, 2)
    monkeypatch.undo()
    assert [encode.read_kept(p.kept(kept, made.hash)) is not None for p in todo] == [
        True, True, False, False
    ]  # fmt: skip
    write_all(made, dataset, tmp_path)


def test_only_one_process_encodes_into_a_folder(tmp_path):
    with (
        files.lock_output(tmp_path, "encode"),
        pytest.raises(ValueError, match="another encode is writing to"),
        files.lock_output(tmp_path, "encode"),
    ):
        pass


def test_finished_codes_are_known_by_model_corpus_offsets_and_shards(made, dataset, tmp_path):
    info = encode.info_of(dataset, made, 1)
    assert not encode.finished(tmp_path, info)
    codes = write_all(made, dataset, tmp_path)
    assert encode.finished(tmp_path, info)
    assert not encode.finished(tmp_path, info | {"offsets": 2})
    assert not encode.finished(tmp_path, info | {"vqvae": {"hash": "another"}})
    shard = tmp_path / codes.info["splits"]["train"]["shards"][0]["file"]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert not encode.finished(tmp_path, info)


def test_a_killed_encode_goes_on_and_ends_the_same(vqvae, folder, tmp_path):
    def flags(output):
        return f"--vqvae={vqvae}", f"--input={folder}", f"--output={output}", "--offsets=2"

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out = run("encode", *flags(whole)).stdout
    assert out.startswith("7 tracks, 0.6 minutes, ")
    assert out.strip().endswith(f"x real time: {whole}")

    def begun():
        return len(list((killed / ".work").glob("[0-9a-f]*.npz"))) >= 2

    assert stop_when("encode", *flags(killed), ready=begun) == -signal.SIGKILL
    assert not (killed / "dataset.json").exists()
    run("encode", *flags(killed))
    assert contents(killed) == contents(whole)
    assert [path.name for path in (killed / ".work").iterdir()] == [files.LOCK]
    assert run("encode", *flags(whole)).stdout == f"{whole} holds these codes already\n"


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--offsets=0", "--offsets=0 must lie in 1 to 128"),
        ("--offsets=129", "--offsets=129 must lie in 1 to 128"),
        ("--batch_size=-1", "--batch_size=-1 must be 1 or more, or 0"),
    ],
)
def test_flags_that_cannot_be_are_refused(vqvae, folder, tmp_path, flag, says):
    flags = (f"--vqvae={vqvae}", f"--input={folder}", f"--output={tmp_path}", flag)
    assert run("encode", *flags, code=2).stderr == f"error: {says}\n"
