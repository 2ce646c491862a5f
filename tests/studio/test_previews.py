"""Previews of a tuning, read from the event files that `train` writes."""

import contextlib
import io

import numpy as np
import pytest
import soundfile

from jukejax.common import files
from jukejax.data.dataset_file import FORMAT
from jukejax.studio import tuning
from jukejax.studio.previews import read_preview, write_preview
from jukejax.studio.state import Entry
from jukejax.training.tensorboard import EventFile

RATE = 44_100


def write_sounds(folder, steps, *, tag="audio/generated", begin=0):
    """Writes an event file with constant sounds, whose level tells the step."""
    with contextlib.closing(EventFile(folder / "prior/tensorboard/heldout", begin)) as file:
        for step in steps:
            file.add_scalars(step, {"loss": 1.0})
            file.add_audio(step, tag, np.full(1000, step / 100), RATE)
            file.add_audio(step, "audio/heldout", np.zeros(1000), RATE)
            file.add_histogram(step, "histogram/generated_codes", np.arange(5))
    return file.path


def read_level(sound):
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert (rate, len(samples)) == (RATE, 1000)
    return samples.mean()


def test_the_newest_sound_of_the_model_is_the_preview(tmp_path):
    assert read_preview(tmp_path) is None
    write_sounds(tmp_path, [9, 18])
    preview = read_preview(tmp_path)
    assert preview.step == 18
    assert read_level(preview.sound) == pytest.approx(0.18, abs=1e-4)


def test_a_resumed_run_goes_on_in_a_file_of_its_own(tmp_path):
    write_sounds(tmp_path, [9, 18])
    write_sounds(tmp_path, [], begin=18)
    assert read_preview(tmp_path).step == 18
    write_sounds(tmp_path, [27], begin=18)
    assert read_preview(tmp_path).step == 27


def test_a_sound_that_is_being_written_or_damaged_is_left_out(tmp_path):
    path = write_sounds(tmp_path, [9, 18])
    whole = path.read_bytes()
    second = whole.index(b"audio/generated", whole.index(b"audio/generated") + 1)
    path.write_bytes(whole[: second + 500])
    assert read_preview(tmp_path).step == 9
    path.write_bytes(whole[:-100] + b"\xff" * 100)  # the last histogram
    assert read_preview(tmp_path).step == 18
    path.write_bytes(b"\xff" * 1000)
    assert read_preview(tmp_path) is None


def test_the_file_follows_the_newest_preview(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        write_preview(tmp_path)
    write_sounds(tmp_path, [9])
    assert read_level(write_preview(tmp_path).read_bytes()) == pytest.approx(0.09, abs=1e-4)
    write_sounds(tmp_path, [18])
    path = write_preview(tmp_path)
    assert read_level(path.read_bytes()) == pytest.approx(0.18, abs=1e-4)
    written_at = path.stat().st_mtime_ns
    assert write_preview(tmp_path).stat().st_mtime_ns == written_at


def write_table(codes, *, windows):
    """Writes the dataset.json of codes that hold out so many windows of the shipped model."""
    tracks = [
        {"name": f"{number}.flac", "samples": 4096 * 128, "first_record": 4 * number, "records": 4}
        for number in range(windows)
    ]
    shard = {"file": "heldout.shard", "records": 4 * windows, "bytes": 100, "crc32c": "00000000"}
    table = {"format": FORMAT, "kind": "codes", "sample_rate": 44_100, "chunk_samples": 1 << 17}
    table |= {"hops": [8, 32, 128], "codebook_size": 2048, "corpus_hash": "0"}
    table["splits"] = {name: {"shards": [], "tracks": []} for name in ("train", "heldout")}
    table["splits"]["heldout"] = {"shards": [shard], "tracks": tracks}
    codes.mkdir(parents=True, exist_ok=True)
    files.write_json(codes / "dataset.json", table)


@pytest.mark.parametrize(("windows", "size"), [(0, 1), (1, 1), (2, 2), (9, 2)])
def test_a_tuning_on_few_records_has_small_batches(tmp_path, model, windows, size):
    write_table(tmp_path, windows=windows)
    assert tuning.find_batch_size(tmp_path, model) == size


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (25, 9), (2000, 100)])
def test_a_tuning_makes_previews_with_the_codec_of_its_model(studio, project, model, steps, every):
    corpus = project.add_entry("c", lambda identifier: Entry(name="records"))
    codes = project.corpus_folder(corpus) / "codes"
    write_table(codes, windows=2)
    tuning.tune_model(project, studio.queue, corpus, "x", steps, model)
    train = studio.queue.list_jobs()[0]
    assert f"--config.sample_every={every}" in train.arguments
    assert f"--config.vqvae={model.folder}" in train.arguments
