"""TFRecord shards: their binary format and the schema of their records.

A shard is a sequence of `<uint64 length><masked crc32c of it><payload><masked crc32c of it>`, as
TensorFlow writes it (tensorflow/core/lib/io/record_writer.h); the payload is a `tf.train.Example`.
Neither writing nor reading imports TensorFlow.

One record is one chunk of a track: `chunk_samples` samples of audio, or the codes of those samples.
Only the last chunk of a track may be shorter.

  audio chunk   audio: int16 little-endian bytes, interleaved; channels: 1 or 2
  code chunk    level_0, level_1, ... of every level of the VQ-VAE: uint16 little-endian bytes;
                reference_1 the same, for levels with a reference
  both          track, chunk: int64 position in the split and in the track; name, artist: bytes;
                genre: bytes, any number
"""

import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from jukejax.data import byte_sources

CHUNK = 131072  # samples: 2.97 s at 44.1 kHz, 1024 top-level codes of the default hops
HOPS = (8, 32, 128)  # samples per code of level 0, 1, 2, of the default VQ-VAE and of OpenAI's

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_FRAME = _HEADER.size + _FOOTER.size


@cache
def _example_class() -> Any:
    """Returns the class tf.train.Example; its package takes 0.5 s to import."""
    from tensorflow_datasets.proto import tf_example_generated_pb2

    return tf_example_generated_pb2.Example


def masked_crc(data: bytes | np.ndarray) -> int:
    """Computes the CRC-32C of `data`, rotated and offset as in TFRecord files."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def chunk_samples(hops: Sequence[int]) -> int:
    """Returns the samples of a chunk: the most, up to CHUNK, that hold whole top-level codes."""
    return max(CHUNK // hops[-1], 1) * hops[-1]


def name_level(level: int) -> str:
    """Returns the name of the codes of a level."""
    return f"level_{level}"


def name_reference(level: int) -> str:
    """Returns the name of the codes of a level's reference (`VQVAE.encode_reference`)."""
    return f"reference_{level}"


def name_arrays(num_levels: int, references: Sequence[int] = ()) -> dict[str, int]:
    """Returns the level of each array of codes of a chunk by name."""
    names = {name_level(level): level for level in range(num_levels)}
    return names | {name_reference(level): level for level in references}


@dataclass(frozen=True)
class ShardSummary:
    """Size of a finished shard, and the CRC-32C of the file in hex."""

    records: int
    bytes: int
    crc32c: str


class RecordWriter:
    """Writes one shard; `close` syncs it to disk.

    Attributes:
      lengths: bytes of the payloads so far.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.records = self.bytes = 0
        self.lengths: list[int] = []
        self._crc = 0
        self._file = open(self.path, "wb")  # noqa: SIM115 - closed by close() or abandon()

    def write(self, payload: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(payload))
        frame = length + _FOOTER.pack(masked_crc(length)), _FOOTER.pack(masked_crc(payload))
        for data in (frame[0], payload, frame[1]):
            self._file.write(data)
            self._crc = google_crc32c.extend(self._crc, data)
            self.bytes += len(data)
        self.records += 1
        self.lengths.append(len(payload))

    def close(self) -> ShardSummary:
        """Syncs the file to disk, so that it is complete before a later rename."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return ShardSummary(self.records, self.bytes, f"{self._crc:08x}")

    def abandon(self) -> None:
        """Closes and removes the unfinished file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Shard:
    """Reads the records of one file in any order; several threads may read at once.

    Attributes:
      offsets, lengths: int64 [records], of the payloads in the file.
      torn_bytes: bytes after the last complete record; more than 0 if the file was cut short.
    """

    def __init__(self, path: str | os.PathLike, lengths: np.ndarray | None = None):
        """Opens a shard.

        Args:
          lengths: of the payloads of all records, if they are known; None: the headers are read.
        """
        self.path = Path(path)
        self._file = byte_sources.open_source(self.path)
        if lengths is not None and (lengths + _FRAME).sum() == self._file.size:
            ends = np.cumsum(lengths + _FRAME)
            self.offsets, self.lengths = ends - lengths - _FOOTER.size, lengths
            self.torn_bytes = 0
        else:
            self.offsets, self.lengths, self.torn_bytes = _index_records(self._file)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, record: int) -> memoryview:
        """Reads the payload of one record and checks its CRC.

        The result is a view of a buffer of this thread, valid until the thread's next read of any
        shard: an allocation for every record would double the time of reading.

        Raises:
          ValueError: the CRC does not match.
        """
        length = int(self.lengths[record])
        data = _thread_buffer(length + _FOOTER.size)
        num_read = self._file.read_into(data.data, int(self.offsets[record]))
        payload = data[:length]
        if num_read != len(data) or _FOOTER.unpack(data[length:].tobytes())[0] != masked_crc(
            payload
        ):
            raise _damage_error(self.path, record)
        return payload.data


_thread = threading.local()


def _thread_buffer(size: int) -> np.ndarray:
    """Returns uint8 [size], in memory that a thread reuses at each call."""
    if getattr(_thread, "buffer", np.empty(0)).size < size:
        _thread.buffer = np.empty(max(size, 1 << 20), np.uint8)
    return _thread.buffer[:size]


def _damage_error(path: Path, record: int) -> ValueError:
    return ValueError(
        f"{path}: record {record} is damaged (its CRC does not match); "
        "copy the shard again or rerun the command that made it"
    )


def _index_records(source: byte_sources.ByteSource) -> tuple[np.ndarray, np.ndarray, int]:
    """Finds the records of a shard by reading only their headers.

    Returns:
      offsets, lengths: int64 [records] of the payloads; torn_bytes: bytes after the last complete
      record, 0 in an intact file.

    Raises:
      ValueError: the CRC of a header does not match.
    """
    offsets: list[int] = []
    lengths: list[int] = []
    position = 0
    header = memoryview(bytearray(_HEADER.size))
    while position + _FRAME <= source.size:
        source.read_into(header, position)
        length, crc = _HEADER.unpack(header)
        if crc != masked_crc(bytes(header[:8])):
            raise _damage_error(source.path, len(offsets))
        if position + _FRAME + length > source.size:
            break
        offsets.append(position + _HEADER.size)
        lengths.append(length)
        position += _FRAME + length
    return np.array(offsets, np.int64), np.array(lengths, np.int64), source.size - position


def encode_chunk(
    arrays: dict[str, np.ndarray],
    *,
    track: int,
    chunk: int,
    name: str = "",
    artist: str = "",
    genre: Sequence[str] = (),
) -> bytes:
    """Serializes one chunk as an Example, the same bytes for the same input.

    Args:
      arrays: {"audio": int16 [time, channels]} or {"level_0": uint16 [time], ...}.
    """
    example = _example_class()()
    feature = example.features.feature
    for key, array in arrays.items():
        feature[key].bytes_list.value.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
        if key == "audio":
            feature["channels"].int64_list.value.append(array.shape[1])
    feature["track"].int64_list.value.append(track)
    feature["chunk"].int64_list.value.append(chunk)
    feature["name"].bytes_list.value.append(name.encode())
    feature["artist"].bytes_list.value.append(artist.encode())
    feature["genre"].bytes_list.value.extend(text.encode() for text in genre)
    return example.SerializeToString(deterministic=True)


def decode_audio(payload: memoryview | bytes) -> np.ndarray:
    """Returns the audio of a chunk, int16 [time, channels], as a view of the payload."""
    audio, channels = _find_features(payload, ("audio", "channels"))
    return np.frombuffer(audio, "<i2").reshape(-1, channels[0])


def decode_codes(payload: memoryview | bytes, names: Sequence[str]) -> list[np.ndarray]:
    """Returns the codes of these names in a chunk, uint16 [time] each, as views of the payload."""
    return [np.frombuffer(codes, "<u2") for codes in _find_features(payload, names)]


def _find_features(payload: memoryview | bytes, keys: Sequence[str]) -> list[memoryview]:
    """Returns the first value of each of the named features of an Example; integers as varints.

    NOTE: protobuf itself would copy the payload twice. An Example is {1: {1: [entry, ...]}}, an
    entry is {1: key, 2: {kind: {1: value}}}, and every field in it is length-delimited.
    """
    values_by_key = {}
    for features in _iterate_fields(memoryview(payload)):
        for entry in _iterate_fields(features):
            key, feature = _iterate_fields(entry)
            if (name := str(key, "utf-8")) in keys:
                (values,) = _iterate_fields(feature)
                values_by_key[name] = next(_iterate_fields(values))
    return [values_by_key[key] for key in keys]


def _iterate_fields(message: memoryview) -> Iterator[memoryview]:
    """Yields the content of each field of a protobuf message; all must be length-delimited."""
    position = 0
    while position < len(message):
        position, length, shift = position + 1, 0, 0  # past the tag
        while True:
            byte = message[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield message[position : position + length]
        position += length
