"""Files on this machine or in a bucket (gs://, s3://, az://, anything that fsspec knows).

Sound is decoded, and shards are read, by position in a file: what lies in a bucket is copied here
first, and what is made for a bucket is made here and copied there. A bucket needs the package of
its kind (gs: gcsfs, s3: s3fs, az: adlfs); TensorFlow's file system is never used.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jukejax.common import files

if TYPE_CHECKING:
    import fsspec


def is_remote(place: str | os.PathLike) -> bool:
    """Whether a path names a bucket."""
    return "://" in os.fspath(place)


def join(folder: str | os.PathLike, *names: str) -> str:
    """The path of a file in a folder, wherever it lies."""
    return "/".join([os.fspath(folder).rstrip("/"), *names])


def check(place: str, flag: str) -> None:
    """ValueError, naming the flag, if a bucket is of no known kind or cannot be reached."""
    if not is_remote(place):
        return
    try:
        filesystem, root = _open(place)
        filesystem.exists(root)
    except ImportError as error:  # fsspec's own words name the package to install
        raise ValueError(f"--{flag}={place}: {error}") from error
    except Exception as error:  # clients of buckets raise errors of any type
        raise ValueError(f"--{flag}={place} cannot be reached: {error}") from error


def find(folder: str) -> list[str]:
    """The paths of all files under a folder of a bucket, relative to it, in alphabetical order."""
    filesystem, root = _open(folder)
    filesystem.invalidate_cache()
    prefix = root.rstrip("/") + "/"
    return sorted(name.removeprefix(prefix) for name in filesystem.find(root))


def state(place: str) -> str:
    """What changes when a file of a bucket does: its size, time, etag, as a hash."""
    filesystem, name = _open(place)
    return filesystem.ukey(name)


def exists(place: str) -> bool:
    """Whether there is such a file."""
    if not is_remote(place):
        return os.path.exists(place)
    filesystem, name = _open(place)
    filesystem.invalidate_cache()
    return filesystem.exists(name)


@contextlib.contextmanager
def local_copy(place: str | os.PathLike) -> Iterator[Path]:
    """A local path of a file for as long as it is used: its own, or that of a copy."""
    if not is_remote(place):
        yield Path(place)
        return
    filesystem, name = _open(os.fspath(place))
    with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
        copy = Path(folder, name.rpartition("/")[2])
        filesystem.get_file(name, str(copy))
        yield copy


def put(path: Path, place: str) -> None:
    """Copies a file into a bucket, where it appears whole or not at all."""
    filesystem, name = _open(place)
    filesystem.put_file(str(path), name)


def put_bytes(data: bytes, place: str) -> None:
    """Writes a file, which appears whole or not at all, and the folders above it."""
    if is_remote(place):
        filesystem, name = _open(place)
        filesystem.pipe_file(name, data)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(place, data)


def remove(place: str) -> None:
    """Removes a file."""
    filesystem, name = _open(place)
    filesystem.rm_file(name)


def _open(place: str) -> "tuple[fsspec.AbstractFileSystem, str]":
    import fsspec

    return fsspec.core.url_to_fs(place)
