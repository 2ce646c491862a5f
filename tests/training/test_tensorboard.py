"""Event files as TensorBoard's own readers see them."""

import contextlib
import io
import struct

import numpy as np
import pytest
import soundfile
from google_crc32c import value as crc32c
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2

from jukejax.data.records import masked_crc
from jukejax.training import tensorboard as events

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 7, 5) + b"rest"


@pytest.fixture
def file(tmp_path):
    with contextlib.closing(events.EventFile(tmp_path, step=6)) as file:
        yield file


def parsed(path) -> list:
    """All events of a file by TensorBoard's own protobufs, with both checksums checked."""
    data, found = path.read_bytes(), []
    while data:
        length, crc = struct.unpack("<QI", data[:12])
        payload, data = data[12 : 12 + length], data[12 + length :]
        assert crc == masked_crc(struct.pack("<Q", length))
        (crc,) = struct.unpack("<I", data[:4])
        rotated = crc32c(payload)
        assert crc == (((rotated >> 15) | (rotated << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        found.append(event_pb2.Event.FromString(payload))
        data = data[4:]
    return found


def accumulated(folder) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"audio": 0, "images": 0}).Reload()


def test_a_file_begins_with_its_version_and_where_the_run_goes_on(file):
    first, start = parsed(file.path)
    assert first.file_version == "brain.Event:2"
    assert first.wall_time == pytest.approx(start.wall_time, abs=60)
    assert start.session_log.status == event_pb2.SessionLog.START
    assert start.step == 7


def test_scalars_come_back_with_their_steps_zero_among_them(file):
    file.add_scalars(3, {"loss": 0.0, "level_0/recons": 1.5})
    file.add_scalars(4, {"loss": float("nan")})
    event = parsed(file.path)[2]
    assert event.step == 3
    assert [(v.tag, v.simple_value) for v in event.summary.value] == [
        ("loss", 0.0),
        ("level_0/recons", 1.5),
    ]
    assert event.summary.value[0].WhichOneof("value") == "simple_value"
    assert [point.step for point in accumulated(file.path.parent).Scalars("loss")] == [3, 4]


def test_a_run_that_goes_on_replaces_what_it_does_again(tmp_path):
    first = events.EventFile(tmp_path)
    for step in range(1, 6):
        first.add_scalars(step, {"loss": float(step)})
    first.close()
    second = events.EventFile(tmp_path, step=3)
    second.add_scalars(4, {"loss": 40.0})
    second.close()
    points = accumulated(tmp_path).Scalars("loss")
    shown = [(point.step, point.value) for point in points]
    assert shown == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_audio_is_a_wav_that_nothing_clips(file):
    sound = 2.0 * np.sin(np.arange(1000) / 20).astype(np.float32)
    sound[7] = np.nan
    file.add_audio(9, "heldout/original", sound, 8000)
    value = parsed(file.path)[2].summary.value[0]
    assert value.tag == "heldout/original"
    assert (value.audio.sample_rate, value.audio.length_frames) == (8000.0, 1000)
    assert value.audio.content_type == "audio/wav"
    wav, rate = soundfile.read(io.BytesIO(value.audio.encoded_audio_string), dtype="float32")
    assert rate == 8000
    expected = np.nan_to_num(sound) / np.abs(np.nan_to_num(sound)).max()
    np.testing.assert_allclose(wav, expected, atol=1e-4)


def test_quiet_audio_is_not_turned_up():
    np.testing.assert_array_equal(events.limit_peak(np.array([0.25, -0.5])), [0.25, -0.5])


def test_a_picture_keeps_its_bytes_and_knows_its_size(file):
    file.add_image(1, "mel", PNG)
    image = parsed(file.path)[2].summary.value[0].image
    assert (image.width, image.height) == (7, 5)
    assert image.encoded_image_string == PNG


def test_a_histogram_counts_every_finite_number_once(file):
    numbers = np.concatenate([np.zeros(90), np.linspace(1, 10, 10), [np.inf, np.nan]])
    file.add_histogram(2, "codes", numbers)
    file.add_histogram(2, "nothing", np.array([np.nan]))
    (_, _, event) = parsed(file.path)
    histogram = event.summary.value[0].histo
    assert (histogram.num, histogram.min, histogram.max) == (100, 0.0, 10.0)
    assert histogram.sum == pytest.approx(55.0)
    assert histogram.bucket[0] == 90
    assert sum(histogram.bucket) == 100
    assert len(histogram.bucket) == len(histogram.bucket_limit) == 30


def test_tensorboard_shows_pictures_sounds_and_histograms(file):
    file.add_audio(1, "original", np.zeros(100), 8000)
    file.add_image(1, "mel", PNG)
    file.add_histogram(1, "codes", np.arange(5))
    tags = accumulated(file.path.parent).Tags()
    shown = {tag for kind in ("tensors", "audio", "images", "histograms") for tag in tags[kind]}
    assert shown == {"original", "mel", "codes"}
