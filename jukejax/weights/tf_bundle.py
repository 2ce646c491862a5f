"""TensorFlow's checkpoints (V2, "bundles"), read with NumPy alone.

A bundle is an index, NAME.index, and data, NAME.data-00000-of-00001. The index is a sorted string
table as in LevelDB: blocks of key and value with shared key prefixes, each block followed by a type
byte and a checksum; a footer of 48 bytes holds the offset of the index of blocks. Each value is a
BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto): type, shape, offset, size, CRC.
"""

from collections.abc import Iterator

import google_crc32c
import numpy as np

from jukejax.common.protobuf import parse_fields, parse_varint

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5  # after each block: one byte of type, four of checksum
DTYPES: dict[int, np.dtype] = {  # DataType in tensorflow/core/framework/types.proto
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}


def read_tensors(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Reads all tensors of a bundle with one data file, by name.

    Args:
      index: content of NAME.index.
      data: content of NAME.data-00000-of-00001.

    Raises:
      ValueError: a file is no bundle, is damaged, or uses an unsupported feature.
    """
    try:
        rows = list(_read_table(index))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("the index is damaged: a row of it ends outside") from error
    tensors = {}
    for key, value in rows:
        if not key:  # the header: number of shards, byte order
            continue
        tensors[key.decode()] = _read_tensor(key.decode(), parse_fields(value), data)
    return tensors


def _read_table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the rows of the string table in order."""
    if len(index) < FOOTER or int.from_bytes(index[-8:], "little") != MAGIC:
        raise ValueError("this is no index of a TensorFlow checkpoint, or a truncated one")
    footer = index[-FOOTER:]
    _, _, end = _parse_handle(footer, 0)  # the block of metadata, which is empty
    offset, size, _ = _parse_handle(footer, end)
    for _, value in _read_block(index, offset, size):
        yield from _read_block(index, *_parse_handle(value, 0)[:2])


def _parse_handle(buffer: bytes, position: int) -> tuple[int, int, int]:
    """Parses the location of a block; returns (offset, size, position after the handle)."""
    offset, position = parse_varint(buffer, position)
    size, position = parse_varint(buffer, position)
    return offset, size, position


def _read_block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the rows of one block, after checking its checksum."""
    block = index[offset : offset + size + TRAILER]
    if len(block) < size + TRAILER or size < 4:
        raise ValueError("the index is damaged: a block ends outside")
    if _unmask_crc(int.from_bytes(block[-4:], "little")) != google_crc32c.value(block[:-4]):
        raise ValueError("the index is damaged: a block has the wrong checksum")
    if block[size]:
        raise ValueError("the index is compressed; save the checkpoint without compression")
    restarts = int.from_bytes(block[size - 4 : size], "little")
    end, position, key = size - 4 * (restarts + 1), 0, b""
    while position < end:
        shared, position = parse_varint(block, position)
        unshared, position = parse_varint(block, position)
        length, position = parse_varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _read_tensor(name: str, entry: dict[int, list], data: bytes) -> np.ndarray:
    """Reads one tensor, after checking its checksum."""
    code = entry.get(1, [0])[0]
    if code not in DTYPES or 7 in entry:
        raise ValueError(f"tensor {name} is of TensorFlow's type {code} or sliced; we read neither")
    if entry.get(3, [0])[0]:
        raise ValueError(f"tensor {name} is in a second data file; we read checkpoints with one")
    dimensions = [
        parse_fields(dim) for shape in entry.get(2, []) for dim in parse_fields(shape).get(2, [])
    ]
    shape = tuple(dim.get(1, [0])[0] for dim in dimensions)
    offset, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
    content = data[offset : offset + size]
    if len(content) < size or size != DTYPES[code].itemsize * int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"the data file is too short for tensor {name}, or another one's")
    if _unmask_crc(int.from_bytes(entry[6][0], "little")) != google_crc32c.value(content):
        raise ValueError(f"tensor {name} is damaged: wrong checksum")
    return np.frombuffer(content, DTYPES[code]).reshape(shape)


def _unmask_crc(crc: int) -> int:
    """Restores a CRC, which TensorFlow stores as a rotation plus a constant."""
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
