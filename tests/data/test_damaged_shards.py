"""Shards damaged by a disk or a copy, in the commands that read them."""

import re
import shutil

import numpy as np
import pytest

from jukejax.data import corpus, records
from tests.data.test_corpus import write
from tests.support import small_bundle
from tests.support.command import run_in_process

LENGTHS = [3 * records.CHUNK, 2 * records.CHUNK, 2 * records.CHUNK]  # the second is held out
SHARD = "train-00000-of-00001.tfrecord"


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio") / "data"
    write(folder, LENGTHS, shard_bytes=1 << 30, channels=1)
    return folder


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    return small_bundle.write(tmp_path_factory.mktemp("model"), "none", levels=())


@pytest.fixture
def folder(sound_folder, tmp_path):
    return shutil.copytree(sound_folder, tmp_path / "data")


def flip_a_bit(path, *numbers):
    """Flips a bit in the middle of the payload of the numbered records."""
    shard = records.Shard(path)
    data = bytearray(path.read_bytes())
    for number in numbers:
        data[shard.offsets[number] + shard.lengths[number] // 2] ^= 16
    path.write_bytes(data)


def train(folder, workdir, code=0):
    config = ("--config=configs/tiny.py:vqvae", "--config.steps=2", "--config.eval_every=2")
    return run_in_process(
        "train", *config, f"--config.data.folder={folder}", f"--workdir={workdir}", code=code
    )


def only_error(stderr):
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in stderr
    return errors[0]


def flip_a_late_bit(path):
    flip_a_bit(path, 4)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def clear(path):
    path.write_bytes(b"")


def swap(path):
    """Exchanges two records of equal size: every record is valid, and the size is the same."""
    shard = records.Shard(path)
    offsets, lengths = shard.offsets, shard.lengths
    data = path.read_bytes()
    first, second = (data[offsets[i] - 12 : offsets[i] + lengths[i] + 4] for i in (0, 3))
    assert len(first) == len(second) == offsets[1] - offsets[0]
    path.write_bytes(second + data[len(first) : offsets[3] - 12] + first + data[offsets[4] - 12 :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_late_bit, "is damaged or another shard: its crc32c is"),
        (cut, "has .* bytes, and dataset.json records"),
        (clear, "is empty, and dataset.json records"),
        (swap, "is damaged or another shard: its crc32c is"),
        (lambda path: path.unlink(), "is missing"),
    ],
    ids=["bit", "cut", "empty", "swapped", "missing"],
)
def test_encode_refuses_a_shard_that_is_not_as_recorded(folder, vqvae, tmp_path, damage, message):
    damage(folder / SHARD)
    flags = (f"--vqvae={vqvae}", f"--input={folder}", f"--output={tmp_path / 'codes'}")
    error = only_error(run_in_process("encode", *flags, code=2).stderr)
    assert re.search(f"{folder / SHARD} {message}", error)
    assert error.endswith("; copy the shard again, or run prepare again")
    assert not (tmp_path / "codes" / "dataset.json").exists()


def test_train_names_the_record_of_a_flipped_bit(folder, tmp_path):
    flip_a_bit(folder / SHARD, *range(5))
    error = only_error(train(folder, tmp_path / "run", code=2).stderr)
    assert re.search(rf"{folder / SHARD}: record [0-4] is damaged", error)


@pytest.mark.slow
def test_train_continues_with_a_shard_cut_short(folder, tmp_path):
    path = folder / SHARD
    path.write_bytes(path.read_bytes()[:-1000])
    stderr = train(folder, tmp_path / "run").stderr
    assert f"warning: {path} was cut short: 1 of its 5 records is lost" in stderr


def test_a_flipped_bit_in_a_header_is_named(folder):
    offsets = records.Shard(folder / SHARD).offsets
    data = np.fromfile(folder / SHARD, np.uint8)
    data[offsets[2] - 12] ^= 1
    data.tofile(folder / SHARD)
    with pytest.raises(ValueError, match=r"train-00000-of-00001\.tfrecord: record 2 is damaged"):
        corpus.open_dataset(folder).tracks("train")
