"""TFRecord shards: the only file that knows their bytes and the schema of what they hold.

A shard is a sequence of `<uint64 length><masked crc32c of it><payload><masked crc32c of it>`, as
TensorFlow writes it (tensorflow/core/lib/io/record_writer.h); the payload is a `tf.train.Example`.
Neither writing nor reading imports TensorFlow.

One record is one chunk of a track: CHUNK samples of audio, or the codes of those samples. Only the
last chunk of a track may be shorter.

  audio chunk   audio: int16 little-endian bytes, interleaved; channels: 1 or 2
  code chunk    level_0, level_1, level_2: uint16 little-endian bytes
  both          track, chunk: int64 position in the split and in the track; name, artist: bytes;
                genre: bytes, any number
"""

import os
import struct
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import google_crc32c
import numpy as np

CHUNK = 131072  # samples: 2.97 s at 44.1 kHz, 1024 top-level codes
HOPS = (8, 32, 128)  # samples a code of level 0, 1, 2 stands for
LEVELS = ("level_0", "level_1", "level_2")

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_FRAME = _HEADER.size + _FOOTER.size


@cache
def _example():
    """The class tf.train.Example: pure protobuf, but its package takes 0.5 s to import."""
    from tensorflow_datasets.proto import tf_example_generated_pb2

    return tf_example_generated_pb2.Example


def masked_crc(data: bytes | np.ndarray) -> int:
    """CRC-32C of `data`, rotated and offset as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass(frozen=True)
class ShardSummary:
    """What a finished shard holds: `crc32c` is of the whole file, in hex."""

    records: int
    bytes: int
    crc32c: str


class RecordWriter:
    """Writes one shard beside its final place; `close` makes it durable."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.records = self.bytes = 0
        self._crc = 0
        self._file = open(self.path, "wb")  # noqa: SIM115 - closed by close() or abandon()

    def write(self, payload: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(payload))
        frame = length + _FOOTER.pack(masked_crc(length)), _FOOTER.pack(masked_crc(payload))
        for part in (frame[0], payload, frame[1]):
            self._file.write(part)
            self._crc = google_crc32c.extend(self._crc, part)
            self.bytes += len(part)
        self.records += 1

    def close(self) -> ShardSummary:
        """Flushes to the disk itself, so that a later rename never shows a hole."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return ShardSummary(self.records, self.bytes, f"{self._crc:08x}")

    def abandon(self) -> None:
        """Closes and removes the unfinished file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Shard:
    """Random access to the records of one file; safe to read from several threads.

    Attributes:
      offsets, lengths: int64 [records], where each payload lies.
      torn_bytes: bytes after the last whole record; more than 0 if the file was cut short.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._fd)
        self.offsets, self.lengths, self.torn_bytes = index(self.path)

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, record: int) -> memoryview:
        """The payload of one record, its checksum checked.

        It lies in a buffer of this thread, to be used before the thread's next read of any shard:
        fresh memory for every record would cost as much as all the rest of reading.
        """
        length = int(self.lengths[record])
        data = _buffer(length + _FOOTER.size)
        got = os.preadv(self._fd, [data], int(self.offsets[record]))
        payload = data[:length]
        if got != len(data) or _FOOTER.unpack(data[length:])[0] != masked_crc(payload):
            raise _damaged(self.path, record)
        return memoryview(payload)


_thread = threading.local()


def _buffer(size: int) -> np.ndarray:
    """uint8 [size], the same memory at each call of a thread."""
    if getattr(_thread, "buffer", np.empty(0)).size < size:
        _thread.buffer = np.empty(max(size, 1 << 20), np.uint8)
    return _thread.buffer[:size]


def _damaged(path: Path, record: int) -> ValueError:
    return ValueError(
        f"{path}: record {record} is damaged (its CRC does not match); "
        "copy the shard again or rerun the command that made it"
    )


def index(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Finds the records of a shard by reading only their headers.

    Returns:
      offsets, lengths: int64 [records] of the payloads; torn_bytes: what follows the last whole
      record, 0 in a sound file.
    """
    path = Path(path)
    size = path.stat().st_size
    offsets, lengths, at = [], [], 0
    with open(path, "rb", buffering=0) as file:
        while at + _FRAME <= size:
            file.seek(at)
            header = file.read(_HEADER.size)
            length, crc = _HEADER.unpack(header)
            if crc != masked_crc(header[:8]):
                raise _damaged(path, len(offsets))
            if at + _FRAME + length > size:
                break
            offsets.append(at + _HEADER.size)
            lengths.append(length)
            at += _FRAME + length
    return np.array(offsets, np.int64), np.array(lengths, np.int64), size - at


def encode_chunk(
    arrays: dict[str, np.ndarray],
    *,
    track: int,
    chunk: int,
    name: str = "",
    artist: str = "",
    genre: Sequence[str] = (),
) -> bytes:
    """One chunk as a serialised Example, the same bytes for the same input.

    Args:
      arrays: {"audio": int16 [time, channels]} or {"level_0": uint16 [time], ...}.
    """
    example = _example()()
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
    """int16 [time, channels] of an audio chunk, where it lies in the payload: nothing is copied."""
    sound, channels = _features(payload, ("audio", "channels"))
    return np.frombuffer(sound, "<i2").reshape(-1, channels[0])


def decode_codes(
    payload: memoryview | bytes, levels: Sequence[int] = (0, 1, 2)
) -> list[np.ndarray]:
    """uint16 [time] of each of `levels` in a code chunk, where they lie in the payload."""
    return [np.frombuffer(c, "<u2") for c in _features(payload, [LEVELS[k] for k in levels])]


def _features(payload: memoryview | bytes, keys: Sequence[str]) -> list[memoryview]:
    """The first value of each of the named features of an Example; integers as varints.

    Protobuf itself would copy the payload twice. An Example is {1: {1: [entry, ...]}}, an entry is
    {1: key, 2: {kind: {1: value}}}, and every field in it is length-delimited.
    """
    found = {}
    for features in _fields(memoryview(payload)):
        for entry in _fields(features):
            key, feature = _fields(entry)
            if (name := str(key, "utf-8")) in keys:
                (values,) = _fields(feature)
                found[name] = next(_fields(values))
    return [found[key] for key in keys]


def _fields(message: memoryview) -> Iterator[memoryview]:
    """The content of each field of a protobuf message, all of them length-delimited."""
    at = 0
    while at < len(message):
        at, length, shift = at + 1, 0, 0  # past the tag
        while True:
            byte = message[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield message[at : at + length]
        at += length
