"""Writes checkpoints in TensorFlow's format (V2, "bundles"), which `weights.tf_bundle` reads."""

import struct

import google_crc32c

from jukejax.weights import tf_bundle

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def mask_crc(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def encode_varint(value):
    groups = [value & 127]
    while value := value >> 7:
        groups[-1] |= 128
        groups.append(value & 127)
    return bytes(groups)


def encode_field(number, value):
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value)
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def encode_entry(array, offset, content):
    sizes = b"".join(encode_field(2, encode_field(1, size)) for size in array.shape)
    proto = encode_field(1, TYPES[array.dtype.name]) + encode_field(2, sizes)
    proto += encode_field(4, offset) + encode_field(5, len(content))
    return proto + encode_varint(6 << 3 | 5) + mask_crc(content)


def encode_block(rows):
    """Rows with shared prefixes, one restart, and what follows a block."""
    body, before = b"", b""
    for key, value in rows:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        body += encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
        body += key[shared:] + value
        before = key
    body += struct.pack("<II", 0, 1) + b"\0"
    return body + mask_crc(body)


def write_bundle(tensors, rows_in_a_block=3):
    """(index, data) as TensorFlow writes them, several blocks."""
    data, rows = b"", [(b"", encode_field(1, 1))]
    for name in sorted(tensors):
        content = tensors[name].tobytes()
        rows.append((name.encode(), encode_entry(tensors[name], len(data), content)))
        data += content
    index, handles = b"", []
    for start in range(0, len(rows), rows_in_a_block):
        part = rows[start : start + rows_in_a_block]
        whole = encode_block(part)
        handles.append((part[-1][0], encode_varint(len(index)) + encode_varint(len(whole) - 5)))
        index += whole
    meta, last = encode_block([]), encode_block(handles)
    footer = encode_varint(len(index)) + encode_varint(len(meta) - 5)
    footer += encode_varint(len(index) + len(meta)) + encode_varint(len(last) - 5)
    index += meta + last + footer.ljust(40, b"\0") + struct.pack("<Q", tf_bundle.MAGIC)
    return index, data
