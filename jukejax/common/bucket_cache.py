"""A bounded local cache of the blocks of objects, for reading by ranges.

Environment: JUKEJAX_BUCKET_CACHE names the folder (default: `jukejax/buckets` in the user's cache
folder), JUKEJAX_BUCKET_CACHE_GB its size in GB (default: 10; 0: nothing is kept). Several processes
may share it. A block is named by the path and the state of its object, so that the blocks of a
replaced object are never read. The blocks that were not read for the longest time are removed
first.
"""

import contextlib
import functools
import hashlib
import os
import threading
import time
from pathlib import Path

from jukejax.common import storage, user_cache

FOLDER, SIZE = "JUKEJAX_BUCKET_CACHE", "JUKEJAX_BUCKET_CACHE_GB"
DEFAULT_GB = 10.0
BLOCK = 1 << 20  # bytes that are read and kept at once
_SHRUNK = 0.9  # share of the limit that is left after old blocks were removed
_FRESH = 60.0  # seconds in which a block is not marked as read again


def find_folder() -> Path:
    """Returns the folder of the cache."""
    if folder := os.environ.get(FOLDER):
        return Path(folder)
    return user_cache.find_user_cache() / "buckets"


def find_limit() -> int:
    """Returns the largest size of the cache in bytes.

    Raises:
      ValueError: the environment variable is no number.
    """
    text = os.environ.get(SIZE, "")
    try:
        size = float(text or DEFAULT_GB)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise ValueError(f"{SIZE}={text} must be a number of GB, 0 or more")
    return int(size * 1e9)


class BlockCache:
    """Reads objects by blocks; several threads may read at once."""

    def __init__(self, folder: Path, limit: int):
        """Takes the blocks that are in the folder.

        Args:
          limit: bytes; 0: nothing is kept.
        """
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._bytes = sum(size for _, size, _ in self._list_blocks())

    def read(self, source: storage.StoredObject, start: int, end: int) -> bytes:
        """Reads the bytes `start` to `end` (exclusive) of an object."""
        blocks = range(start // BLOCK, (end + BLOCK - 1) // BLOCK)
        data = b"".join(self._read_block(source, number) for number in blocks)
        first = start - start // BLOCK * BLOCK
        return data[first : first + end - start]

    def _read_block(self, source: storage.StoredObject, number: int) -> bytes:
        start, end = number * BLOCK, min((number + 1) * BLOCK, source.size)
        if not self._limit:
            return storage.read_range(source.url, start, end)
        key = hashlib.sha256(f"{source.url} {source.state} {number}".encode()).hexdigest()
        path = self._folder / key[:2] / key[2:]
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if len(data) == end - start:
                if time.time() - path.stat().st_mtime > _FRESH:
                    os.utime(path)
                return data
        data = storage.read_range(source.url, start, end)
        with contextlib.suppress(OSError):  # a full disk: the data are here all the same
            self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._bytes += len(data)
            if self._bytes > self._limit:
                self._remove_oldest()

    def _remove_oldest(self) -> None:
        blocks = sorted(self._list_blocks())
        self._bytes = sum(size for _, size, _ in blocks)
        for _, size, path in blocks:
            if self._bytes <= self._limit * _SHRUNK:
                break
            path.unlink(missing_ok=True)
            self._bytes -= size

    def _list_blocks(self) -> list[tuple[float, int, Path]]:
        """Lists (time of the last reading, bytes, path) of the blocks."""
        blocks = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                state = path.stat()
                blocks.append((state.st_mtime, state.st_size, path))
        return blocks


@functools.cache
def open_cache(folder: Path, limit: int) -> BlockCache:
    """Returns the cache of a folder in this process."""
    return BlockCache(folder / "blocks", limit)


def read_range(source: storage.StoredObject, start: int, end: int) -> bytes:
    """Reads the bytes `start` to `end` (exclusive) of an object through the cache."""
    return open_cache(find_folder(), find_limit()).read(source, start, end)
