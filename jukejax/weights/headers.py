"""The header of a safetensors file, checked against the size of the file before it is read."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukejax.common.config import freeze

MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
_WIDTHS = {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F32": 4}
_WIDTHS |= {"I32": 4, "U32": 4, "F64": 8, "I64": 8, "U64": 8}


@dataclass(frozen=True)
class TensorEntry:
    """The position of a tensor.

    Attributes:
      data_offsets: first and last byte in the file, after `read_header`.
    """

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size(self) -> int:
        """The numbers in the tensor."""
        return math.prod(self.shape)


def read_header(path: str | os.PathLike) -> dict[str, TensorEntry]:
    """Reads the header of a safetensors file.

    Raises:
      ValueError: it is no such file, or one whose header does not fit its size.
    """
    try:
        return _parse_header(Path(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file, or a truncated one ({error})") from error


def _parse_header(path: Path) -> dict[str, TensorEntry]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_HEADER):
            raise ValueError(f"its header has {length:,} bytes, and the file {size:,}")
        header: Any = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    entries = {}
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        entry = freeze(TensorEntry, fields, name)
        begin, end = (8 + length + offset for offset in entry.data_offsets)
        if entry.dtype not in _WIDTHS:
            raise ValueError(f"{name}.dtype is {entry.dtype}")
        needed = entry.size * _WIDTHS[entry.dtype]
        if (
            min(*entry.shape, *entry.data_offsets, end - begin) < 0
            or end > size
            or (end - begin != needed)
        ):
            raise ValueError(
                f"{name} is {entry.dtype} {list(entry.shape)}, at bytes {begin:,} to {end:,} of "
                f"{size:,}"
            )
        entries[name] = TensorEntry(entry.dtype, entry.shape, (begin, end))
    return entries
