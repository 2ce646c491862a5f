"""Files of arrays: what they declare is compared with what they hold before it is allocated."""

import contextlib
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from jukejax.common.arrays import read_arrays


def write_member(path, header, data=b"", kind=zipfile.ZIP_STORED):
    """Writes an .npz file with one array of this header."""
    text = header.encode().ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("level_2.npy", content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_they_were_written(tmp_path, save):
    arrays = {
        "a": np.arange(6, dtype=np.uint16),
        "b": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "c": np.int64(7),
        "empty": np.zeros((0, 3), np.int32),
    }
    save(tmp_path / "x.npz", **arrays)
    read = read_arrays(tmp_path / "x.npz")
    assert read.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == value.dtype
    read["a"][0] = 1  # they can be written to


@pytest.mark.parametrize(
    ("descr", "shape"),
    [("<i8", f"({2**50},)"), ("<i8", "(3,)"), ("<i8", "(-1,)"), ("|O", "(2,)")],
)
def test_a_header_that_declares_other_bytes_is_refused(tmp_path, descr, shape):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    write_member(tmp_path / "x.npz", header, bytes(16))
    with pytest.raises(ValueError, match=r"level_2\.npy declares .*, and holds 16 bytes"):
        read_arrays(tmp_path / "x.npz")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    size = 100 << 20
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}"
    write_member(tmp_path / "x.npz", header, bytes(size), zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"it declares 104,\d+,\d+ bytes of arrays in a file of"):
        read_arrays(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_every_cut_and_every_flipped_byte_is_one_kind_of_error(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(4, dtype=np.uint16))
    content, path = buffer.getvalue(), tmp_path / "x.npz"
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"."):
            read_arrays(path)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        with contextlib.suppress(ValueError):
            read_arrays(path)
