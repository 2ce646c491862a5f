"""Random access to the bytes of a shard: a local file, or an object of a bucket."""

import os
import sys
import threading
import weakref
from pathlib import Path
from typing import Protocol

from jukejax.common import bucket_cache, mirrors, storage


class ByteSource(Protocol):
    """Bytes that several threads may read at once.

    Attributes:
      path: of the file, for messages.
      size: in bytes.
    """

    path: Path
    size: int

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fills a buffer from an offset on; returns the number of bytes."""


class FileSource:
    """Reads a local file."""

    def __init__(self, path: Path):
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._fd)
        self.size = os.fstat(self._fd).st_size

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return _read_at(self._fd, buffer, offset)


class ObjectSource:
    """Reads an object of a bucket by ranges, through the local cache."""

    def __init__(self, path: Path, source: storage.StoredObject):
        self.path, self.size, self._source = path, source.size, source

    def read_into(self, buffer: memoryview, offset: int) -> int:
        end = min(offset + len(buffer), self.size)
        data = bucket_cache.read_range(self._source, offset, end)
        buffer[: len(data)] = data
        return len(data)


def source_exists(path: Path) -> bool:
    """Returns true if a path is a local file, or an object that stayed in its bucket."""
    return path.is_file() or mirrors.find_object(path) is not None


def open_source(path: Path) -> ByteSource:
    """Opens a local file, or the object of a local path that stayed in its bucket."""
    source = mirrors.find_object(path)
    return FileSource(path) if source is None else ObjectSource(path, source)


if sys.platform == "win32":
    _position = threading.Lock()  # of the place in a file, which all threads share

    def _read_at(fd: int, buffer: memoryview, offset: int) -> int:
        """Reads from an offset into a buffer; returns the number of bytes."""
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

else:

    def _read_at(fd: int, buffer: memoryview, offset: int) -> int:
        """Reads from an offset into a buffer; returns the number of bytes."""
        return os.preadv(fd, [buffer], offset)
