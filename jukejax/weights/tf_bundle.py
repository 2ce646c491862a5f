"""Reads TensorFlow's checkpoints (V2, "bundles") with NumPy alone.

A bundle is an index, NAME.index, and data, NAME.data-00000-of-00001. The index is a sorted string
table as in LevelDB: blocks of key and value with shared key prefixes, each block followed by a type
byte and a checksum; a footer of 48 bytes says where the index of blocks lies. Each value is a
BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto): type, shape, offset, size, CRC.
"""

from collections.abc import Iterator

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5  # after each block: one byte of type, four of checksum
DTYPES = {  # DataType in tensorflow/core/framework/types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}


def read(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """All tensors of a bundle with one data file, by name.

    Args:
      index: content of NAME.index.
      data: content of NAME.data-00000-of-00001.

    Raises:
      ValueError: a file is no bundle, damaged, or uses what we do not read; the message says what.
    """
    try:
        rows = list(_table(index))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("the index is damaged: a row of it ends outside") from error
    tensors = {}
    for key, value in rows:
        if not key:  # the header: number of shards, byte order
            continue
        tensors[key.decode()] = _tensor(key.decode(), _fields(value), data)
    return tensors


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Rows of the string table in order."""
    if len(index) < FOOTER or int.from_bytes(index[-8:], "little") != MAGIC:
        raise ValueError("this is no index of a TensorFlow checkpoint, or a truncated one")
    footer = index[-FOOTER:]
    _, _, at = _handle(footer, 0)  # of the block of metadata, which is empty
    offset, size, _ = _handle(footer, at)
    for _, value in _block(index, offset, size):
        yield from _block(index, *_handle(value, 0)[:2])


def _handle(buffer: bytes, at: int) -> tuple[int, int, int]:
    """(offset, size, end) of a block."""
    offset, at = _varint(buffer, at)
    size, at = _varint(buffer, at)
    return offset, size, at


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Rows of one block, checked against its checksum."""
    whole = index[offset : offset + size + TRAILER]
    if len(whole) < size + TRAILER or size < 4:
        raise ValueError("the index is damaged: a block lies outside")
    if _unmasked(int.from_bytes(whole[-4:], "little")) != google_crc32c.value(whole[:-4]):
        raise ValueError("the index is damaged: a block has the wrong checksum")
    if whole[size]:
        raise ValueError("the index is compressed; save the checkpoint without compression")
    restarts = int.from_bytes(whole[size - 4 : size], "little")
    end, at, key = size - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(whole, at)
        fresh, at = _varint(whole, at)
        length, at = _varint(whole, at)
        key = key[:shared] + whole[at : at + fresh]
        at += fresh
        yield key, whole[at : at + length]
        at += length


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """(value, end) of a number in groups of seven bits, the lowest first."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fields(message: bytes) -> dict[int, list]:
    """Fields of a protocol buffer by number: whole numbers, or bytes of what is inside."""
    fields: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
        else:
            length, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = message[at : at + length], at + length
        fields.setdefault(number, []).append(value)
    return fields


def _tensor(name: str, entry: dict[int, list], data: bytes) -> np.ndarray:
    """One tensor, checked against its checksum."""
    code = entry.get(1, [0])[0]
    if code not in DTYPES or 7 in entry:
        raise ValueError(f"tensor {name} is of TensorFlow's type {code} or sliced; we read neither")
    if entry.get(3, [0])[0]:
        raise ValueError(f"tensor {name} lies in a second data file; we read checkpoints with one")
    dimensions = [_fields(dim) for shape in entry.get(2, []) for dim in _fields(shape).get(2, [])]
    shape = tuple(dim.get(1, [0])[0] for dim in dimensions)
    offset, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
    content = data[offset : offset + size]
    if len(content) < size or size != DTYPES[code].itemsize * int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"the data file is too short for tensor {name}, or another one's")
    if _unmasked(int.from_bytes(entry[6][0], "little")) != google_crc32c.value(content):
        raise ValueError(f"tensor {name} is damaged: wrong checksum")
    return np.frombuffer(content, DTYPES[code]).reshape(shape)


def _unmasked(crc: int) -> int:
    """The CRC that TensorFlow stores as a rotation plus a constant."""
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
