"""TFRecord shards: bytes, index, checksums."""

import struct

import google_crc32c
import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_generated_pb2

from jukejax.data import records


def write(path, payloads):
    writer = records.RecordWriter(path)
    for payload in payloads:
        writer.write(payload)
    return writer.close()


def test_the_frame_is_that_of_tensorflow(tmp_path):
    """Bytes that tf.io.TFRecordWriter (TensorFlow 2.21) wrote for the one record b"abc"."""
    write(tmp_path / "a", [b"abc"])
    assert (tmp_path / "a").read_bytes().hex() == "0300000000000000b099490e6162636e57f121"


def test_masked_crc_is_the_rotated_crc_plus_a_constant():
    crc = google_crc32c.value(b"hello")
    rotated = (crc >> 15 | crc << 17) % 2**32
    assert records.masked_crc(b"hello") == (rotated + 0xA282EAD8) % 2**32


def test_records_are_read_in_any_order(tmp_path):
    payloads = [bytes([i]) * (i * 37) for i in range(20)]
    summary = write(tmp_path / "a", payloads)
    shard = records.Shard(tmp_path / "a")
    assert len(shard) == summary.records == 20
    assert shard.torn_bytes == 0
    assert [bytes(shard.read(i)) for i in (7, 0, 19, 7)] == [payloads[i] for i in (7, 0, 19, 7)]
    whole = (tmp_path / "a").read_bytes()
    assert summary.bytes == len(whole)
    assert summary.crc32c == f"{google_crc32c.value(whole):08x}"


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_names_file_and_record(tmp_path, bit):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    write(path, [b"x" * 100] * 5)
    data = bytearray(path.read_bytes())
    data[3 * 116 + 12 + 50] ^= 1 << bit
    path.write_bytes(data)
    shard = records.Shard(path)
    assert [bytes(shard.read(i)) for i in (2, 4)] == [b"x" * 100] * 2
    with pytest.raises(ValueError, match=r"train-00000-of-00001.tfrecord: record 3 is damaged"):
        shard.read(3)


def test_a_flipped_bit_in_a_length_is_caught(tmp_path):
    write(tmp_path / "a", [b"x" * 100] * 5)
    data = bytearray((tmp_path / "a").read_bytes())
    data[2 * 116] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match="record 2 is damaged"):
        records.Shard(tmp_path / "a")


@pytest.mark.parametrize("cut", [1, 10, 100, 115])
def test_a_shard_cut_short_loses_only_its_last_record(tmp_path, cut):
    write(tmp_path / "a", [b"x" * 100] * 5)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[:-cut])
    shard = records.Shard(tmp_path / "a")
    assert len(shard) == 4
    assert shard.torn_bytes == 116 - cut
    assert shard.read(3) == b"x" * 100


def test_an_audio_chunk_is_decoded_to_its_samples(tmp_path):
    sound = np.random.RandomState(0).randint(-32768, 32768, (1000, 2)).astype(np.int16)
    payload = records.encode_chunk(
        {"audio": sound}, track=3, chunk=1, name="é.flac", artist="A", genre=("deep house", "dub")
    )
    np.testing.assert_array_equal(records.decode_audio(payload), sound)
    again = records.encode_chunk(
        {"audio": sound}, track=3, chunk=1, name="é.flac", artist="A", genre=("deep house", "dub")
    )
    assert payload == again
    example = tf_example_generated_pb2.Example.FromString(payload).features.feature
    assert example["audio"].bytes_list.value[0] == sound.tobytes()
    assert example["genre"].bytes_list.value == [b"deep house", b"dub"]
    assert example["track"].int64_list.value == [3]
    assert example["name"].bytes_list.value == ["é.flac".encode()]


def test_samples_are_little_endian_and_interleaved():
    payload = records.encode_chunk(
        {"audio": np.array([[1, -2], [300, 4]], np.int16)}, track=0, chunk=0
    )
    assert struct.pack("<4h", 1, -2, 300, 4) in payload


def test_a_code_chunk_is_decoded_by_level():
    random = np.random.RandomState(0)
    codes = {
        f"level_{k}": random.randint(0, 2048, 1024 // hop).astype(np.uint16)
        for k, hop in enumerate(records.HOPS)
    }
    codes["reference_1"] = codes["level_1"][::-1].copy()
    payload = records.encode_chunk(codes, track=0, chunk=0)
    names = ("level_2", "reference_1", "level_0")
    for name, level in zip(names, records.decode_codes(payload, names), strict=True):
        np.testing.assert_array_equal(level, codes[name])


def test_abandon_leaves_nothing(tmp_path):
    writer = records.RecordWriter(tmp_path / "a")
    writer.write(b"abc")
    writer.abandon()
    assert not list(tmp_path.iterdir())


def test_reading_follows_the_protobuf_whatever_the_order_of_its_keys():
    example = tf_example_generated_pb2.Example()
    feature = example.features.feature
    feature["zeros"].int64_list.value.extend([])
    feature["audio"].bytes_list.value.append(np.arange(300_000, dtype="<i2").tobytes())
    feature["track"].int64_list.value.append(10**12)
    feature["channels"].int64_list.value.append(2)
    feature["gain"].float_list.value.append(0.5)
    sound = records.decode_audio(example.SerializeToString())
    np.testing.assert_array_equal(sound.ravel(), np.arange(300_000).astype(np.int16))
    assert sound.shape == (150_000, 2)
