"""Files on this machine or in a bucket (gs://, s3://, az:// or others that fsspec supports).

Decoders and readers of shards need random access: files of a bucket are copied to this machine
before they are read, and files for a bucket are written here and uploaded. A bucket needs the
package of its kind (gs: gcsfs, s3: s3fs, az: adlfs); TensorFlow's file system is never used.
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


def is_remote(path: str | os.PathLike) -> bool:
    """Returns true if a path is in a bucket."""
    return "://" in os.fspath(path)


def join_path(folder: str | os.PathLike, *names: str) -> str:
    """Returns the path of a file in a folder, local or in a bucket."""
    return "/".join([os.fspath(folder).rstrip("/"), *names])


def check_reachable(path: str, flag: str) -> None:
    """Checks a path, if it is in a bucket.

    Raises:
      ValueError: the bucket is of an unknown kind or cannot be reached; the message names the flag.
    """
    if not is_remote(path):
        return
    try:
        filesystem, root = _open_filesystem(path)
        filesystem.exists(root)
    except ImportError as error:  # fsspec's message names the package to install
        raise ValueError(f"--{flag}={path}: {error}") from error
    except Exception as error:  # bucket clients raise errors of any type
        raise ValueError(f"--{flag}={path} cannot be reached: {error}") from error


def list_files(folder: str) -> list[str]:
    """Lists all files under a folder of a bucket, relative to it, in alphabetical order."""
    filesystem, root = _open_filesystem(folder)
    filesystem.invalidate_cache()
    prefix = root.rstrip("/") + "/"
    return sorted(name.removeprefix(prefix) for name in filesystem.find(root))


def file_state(path: str) -> str:
    """Returns a hash of the size, time and etag of a file in a bucket."""
    filesystem, name = _open_filesystem(path)
    return filesystem.ukey(name)


def file_exists(path: str) -> bool:
    """Returns true if a file exists."""
    if not is_remote(path):
        return os.path.exists(path)
    filesystem, name = _open_filesystem(path)
    filesystem.invalidate_cache()
    return filesystem.exists(name)


@contextlib.contextmanager
def local_copy(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a local file, or of a temporary copy of a remote file."""
    if not is_remote(path):
        yield Path(path)
        return
    filesystem, name = _open_filesystem(os.fspath(path))
    with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
        copy = Path(folder, name.rpartition("/")[2])
        filesystem.get_file(name, str(copy))
        yield copy


def upload(source: Path, path: str) -> None:
    """Copies a file into a bucket atomically."""
    filesystem, name = _open_filesystem(path)
    filesystem.put_file(str(source), name)


def store_bytes(data: bytes, path: str) -> None:
    """Writes a file atomically; creates its parent folders."""
    if is_remote(path):
        filesystem, name = _open_filesystem(path)
        filesystem.pipe_file(name, data)
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, data)


def remove_file(path: str) -> None:
    """Removes a file."""
    filesystem, name = _open_filesystem(path)
    filesystem.rm_file(name)


def _open_filesystem(path: str) -> "tuple[fsspec.AbstractFileSystem, str]":
    import fsspec

    return fsspec.core.url_to_fs(path)
