"""Reading of .npz files that may be damaged or harmful: sizes are checked before allocation."""

import math
import os
import zipfile

import numpy as np

# The content of a file may be larger than these bytes only if it is no more than so many times the
# file: codes compress to a sixth at best, a bomb of zeros to a thousandth.
_SMALL, _RATIO = 64 << 20, 50
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file; nothing in it is executed.

    Raises:
      ValueError: the file is damaged, or declares a content that it does not hold; the message does
        not name the file.
      OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_size(archive, os.fstat(file.fileno()).st_size)
                return {
                    entry.filename.removesuffix(".npy"): _read_array(archive, entry)
                    for entry in archive.infolist()
                }
        except Exception as error:  # zipfile and NumPy raise errors of many types for damaged files
            raise ValueError(str(error) or "it ends early") from error


def _check_size(archive: zipfile.ZipFile, size: int) -> None:
    total = sum(entry.file_size for entry in archive.infolist())
    if total > max(_SMALL, _RATIO * size):
        raise ValueError(f"it declares {total:,} bytes of arrays in a file of {size:,} bytes")


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Reads one array, whose header must declare as many bytes as its entry in the archive."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"{entry.filename} is of version {version}")
        shape, is_fortran, dtype = _READERS[version](file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or size != entry.file_size - file.tell():
            raise ValueError(
                f"{entry.filename} declares {dtype} {list(shape)}, and holds "
                f"{entry.file_size - file.tell():,} bytes"
            )
        values = np.frombuffer(file.read(), dtype).copy()
    return values.reshape(shape, order="F" if is_fortran else "C")
