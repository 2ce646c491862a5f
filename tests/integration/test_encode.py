"""`encode` as a command: killed and resumed, and its refusals."""

import signal

import numpy as np
import pytest

from jukejax.common import output_locks
from jukejax.data import corpus, reading, records
from jukejax.inference.codec import Codec
from jukejax.weights import bundle
from tests.support import small_codec
from tests.support.command import run_in_process, stop_when
from tests.support.small_audio import write_audio


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "vqvae"
    bundle.save_part(folder, small_codec.DESCRIPTION, small_codec.weights())
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    lengths = {"train": (14.0, 0.5, 3.0), "heldout": (1.0,)}
    return write_audio(tmp_path_factory.mktemp("audio"), lengths)


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_killed_encode_is_resumed_and_ends_the_same(vqvae, audio, tmp_path):
    def flags(output):
        return (
            f"--vqvae={vqvae}",
            f"--input={audio}",
            f"--output={output}",
            "--offsets=2",
        )

    expected, killed = tmp_path / "expected", tmp_path / "killed"
    out = run_in_process("encode", *flags(expected)).stdout
    assert out.startswith("7 tracks, 0.6 minutes, ")
    assert out.strip().endswith(f"x real time: {expected}")

    def has_encoded():
        return len(list((killed / ".work").glob("[0-9a-f]*.npz"))) >= 2

    assert stop_when("encode", *flags(killed), ready=has_encoded) == -signal.SIGKILL
    assert not (killed / "dataset.json").exists()
    run_in_process("encode", *flags(killed))
    assert read_files(killed) == read_files(expected)
    assert [path.name for path in (killed / ".work").iterdir()] == [output_locks.LOCK]
    out = run_in_process("encode", *flags(expected)).stdout
    assert out == f"{expected} holds these codes already\n"


def test_references_are_stored_beside_the_codes(vqvae, audio, tmp_path):
    flags = (f"--vqvae={vqvae}", f"--input={audio}", f"--output={tmp_path / 'codes'}")
    run_in_process("encode", *flags, "--references=0")
    dataset = corpus.open_dataset(tmp_path / "codes")
    assert dataset.table.references == (0,)
    codec = Codec.load(vqvae)
    fine, middle, _ = dataset.read_codes("train", 0)
    out = {
        name: np.empty(len(fine), np.int32)
        for name in (records.name_level(0), records.name_reference(0))
    }
    reading.fill_code_window(dataset, "train", dataset.tracks("train")[0], 0, out)
    np.testing.assert_array_equal(out["level_0"], fine)
    np.testing.assert_array_equal(out["reference_0"], codec.encode_reference(middle, 0))
    again = run_in_process("encode", *flags, "--references=0").stdout
    assert again.endswith("holds these codes already\n")
    assert run_in_process("encode", *flags).stdout == again, "more than is needed is there"
    assert "x real time" in run_in_process("encode", *flags, "--references=0,1").stdout
    assert corpus.open_dataset(tmp_path / "codes").table.references == (0, 1)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--offsets=0", "--offsets=0 must lie in 1 to 128"),
        ("--offsets=129", "--offsets=129 must lie in 1 to 128"),
        ("--batch_size=-1", "--batch_size=-1 must be 1 or more, or 0"),
        (
            "--references=0,2",
            "--references=0,2: 2 is no level below another one; there are 0, 1",
        ),
    ],
)
def test_invalid_flags_are_refused(vqvae, audio, tmp_path, flag, message):
    flags = (f"--vqvae={vqvae}", f"--input={audio}", f"--output={tmp_path}", flag)
    assert run_in_process("encode", *flags, code=2).stderr == f"error: {message}\n"
