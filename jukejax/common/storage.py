"""Objects of buckets (gs://, s3://, az:// or others that fsspec supports), with retries.

A bucket needs the package of its kind (gs: gcsfs, s3: s3fs, az: adlfs); TensorFlow's file system is
never used. Decoders, safetensors and matplotlib need local files: `mirrors` holds those of a
folder. Every call is repeated after a transient error; an object is complete or absent.
"""

import contextlib
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import fsspec

# Orbax takes etils.epath's paths, which prefer TensorFlow's file system where it is installed.
os.environ.setdefault("EPATH_USE_TF", "0")

SCHEMES = ("gs", "gcs", "s3", "az", "abfs")
ATTEMPTS = 8  # of a call, before it fails
ATTEMPTS_GS = 2  # gcsfs repeats calls 6 times by itself
FIRST_DELAY = 0.25  # seconds before the second attempt; doubled for each further one
LONGEST_DELAY = 8.0  # seconds
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, ValueError)
# s3fs and botocore repeat calls 5 times each by themselves, which `_repeat` would multiply.
_S3_CONFIG = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}

_OF_BUCKETS = ("listed", "reached", "written")  # which fail for missing buckets, not for files
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs"}  # of the extra buckets
_LOGIN = {
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure",
}

T = TypeVar("T")


class StorageError(OSError):
    """An object or a bucket that could not be used; one line that names it."""


@dataclass(frozen=True)
class StoredObject:
    """An object of a bucket.

    Attributes:
      url: its path.
      size: in bytes.
      state: changes when the object is replaced.
    """

    url: str
    size: int
    state: str


def is_remote(path: str | os.PathLike) -> bool:
    """Returns true if a path is in a bucket."""
    return "://" in os.fspath(path)


def names_bucket(text: str) -> bool:
    """Returns true if a text begins as the path of a bucket does."""
    return text.partition("://")[0] in SCHEMES and "://" in text


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
        _repeat("reached", path, _find_entries, filesystem, join_path(root, ".nothing"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--{flag}={error}") from error  # the message begins with the path


# -- Reading -----------------------------------------------------------------------------------


def list_files(folder: str) -> list[str]:
    """Lists all files under a folder of a bucket, relative to it, in alphabetical order."""
    return sorted(list_objects(folder))


def list_objects(folder: str) -> dict[str, StoredObject]:
    """Lists all objects under a folder of a bucket, by their path relative to it.

    The result is empty if there is no such folder; {"": the object} if the path is an object.
    """
    filesystem, root = _open_filesystem(folder)
    root = root.rstrip("/")
    entries = _repeat("listed", folder, _find_entries, filesystem, root)
    scheme = folder.partition("://")[0]
    return {
        name.removeprefix(root).lstrip("/"): StoredObject(
            f"{scheme}://{name.lstrip('/')}", int(entry["size"]), _describe_state(entry)
        )
        for name, entry in entries.items()
        if entry["type"] != "directory" and not name.endswith("/")
    }


def file_state(path: str) -> str:
    """Returns a hash of the size, time and etag of a file in a bucket."""
    filesystem, name = _open_filesystem(path)
    return _repeat("read", path, filesystem.ukey, name)


def file_exists(path: str) -> bool:
    """Returns true if a file exists."""
    if not is_remote(path):
        return os.path.exists(path)
    filesystem, name = _open_filesystem(path)
    filesystem.invalidate_cache()
    return _repeat("read", path, filesystem.exists, name)


def read_range(path: str, start: int, end: int) -> bytes:
    """Reads the bytes `start` to `end` (exclusive) of an object."""
    filesystem, name = _open_filesystem(path)
    return _repeat("read", path, _read_exactly, filesystem, name, start, end)


def download(source: StoredObject, target: Path) -> None:
    """Copies an object to a local file, whose parent folders are created."""
    target.parent.mkdir(parents=True, exist_ok=True)
    filesystem, name = _open_filesystem(source.url)
    _repeat("read", source.url, _get_exactly, filesystem, name, target, source.size)


@contextlib.contextmanager
def local_copy(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a local file, or of a temporary copy of a remote file."""
    if not is_remote(path):
        yield Path(path)
        return
    path = os.fspath(path)
    filesystem, name = _open_filesystem(path)
    with tempfile.TemporaryDirectory(prefix="jukejax-") as folder:
        copy = Path(folder, name.rpartition("/")[2])
        _repeat("read", path, filesystem.get_file, name, str(copy))
        yield copy


# -- Writing -----------------------------------------------------------------------------------


def upload(source: Path, path: str) -> None:
    """Copies a file into a bucket atomically."""
    filesystem, name = _open_filesystem(path)
    _repeat("written", path, filesystem.put_file, str(source), name)


def store_bytes(data: bytes, path: str) -> None:
    """Writes an object atomically."""
    filesystem, name = _open_filesystem(path)
    _repeat("written", path, filesystem.pipe_file, name, data)


def remove_file(path: str) -> None:
    """Removes an object, if it exists."""
    filesystem, name = _open_filesystem(path)
    with contextlib.suppress(FileNotFoundError):
        _repeat("removed", path, filesystem.rm_file, name)


def move_folder(source: str, target: str) -> None:
    """Moves all objects of a folder, one after the other."""
    for name, entry in list_objects(source).items():
        filesystem, old = _open_filesystem(entry.url)
        new = _open_filesystem(join_path(target, name))[1]
        _repeat("moved", entry.url, filesystem.copy, old, new)
        remove_file(entry.url)


# -- One attempt, and several ------------------------------------------------------------------


def _repeat(verb: str, path: str, function: Callable[..., T], *args: Any) -> T:
    """Calls a function of a bucket until it succeeds.

    Raises:
      FileNotFoundError, PermissionError: as the bucket says.
      StorageError: the last attempt failed; the message names the path.
    """
    started_at, delay = time.monotonic(), FIRST_DELAY
    attempts = min(ATTEMPTS, ATTEMPTS_GS) if path.startswith("gs://") else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            return function(*args)
        except _PERMANENT as error:
            if not isinstance(error, OSError):
                raise
            is_bucket = isinstance(error, FileNotFoundError) and verb in _OF_BUCKETS
            reason = "there is no such bucket" if is_bucket else error
            raise type(error)(f"{path} cannot be {verb}: {reason}") from error
        except Exception as error:  # bucket clients raise errors of any type
            is_refused = _is_refused(error)
            if attempt == attempts or is_refused:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                seconds = time.monotonic() - started_at
                advice = _LOGIN.get(path.partition("://")[0], "") if is_refused else ""
                raise StorageError(
                    f"{path} cannot be {verb} (attempt {attempt}, after {seconds:.0f} s): "
                    f"{lines[0][:200]}{'; ' if advice else ''}{advice}"
                ) from error
        time.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)
    raise AssertionError("unreachable")


def _is_refused(error: Exception) -> bool:
    """Returns true if a bucket knows no credentials, or refuses them."""
    is_forbidden = str(error).startswith("Forbidden")  # gcsfs
    return "Credentials" in type(error).__name__ or is_forbidden or _read_code(error) in (401, 403)


def _read_code(error: Exception) -> int:
    code = str(getattr(error, "code", ""))
    return int(code) if code.isdecimal() else 0


def _find_entries(filesystem: "fsspec.AbstractFileSystem", root: str) -> dict[str, dict]:
    filesystem.invalidate_cache()
    return filesystem.find(root, detail=True)


def _describe_state(entry: dict) -> str:
    names = ("etag", "ETag", "md5Hash", "generation", "LastModified", "mtime", "updated", "size")
    return " ".join(f"{name}={entry[name]}" for name in names if name in entry)


def _read_exactly(
    filesystem: "fsspec.AbstractFileSystem", name: str, start: int, end: int
) -> bytes:
    data = filesystem.cat_file(name, start=start, end=end)
    if len(data) != end - start:
        raise ConnectionError(f"{len(data)} of {end - start} bytes from {start} on came")
    return data


def _get_exactly(
    filesystem: "fsspec.AbstractFileSystem", name: str, target: Path, size: int
) -> None:
    filesystem.get_file(name, str(target))
    if target.stat().st_size != size:
        raise ConnectionError(f"{target.stat().st_size} of {size} bytes came")


def _open_filesystem(path: str) -> "tuple[fsspec.AbstractFileSystem, str]":
    scheme = path.partition("://")[0]
    try:
        filesystem = make_filesystem(scheme, os.getpid())
    except ImportError as error:
        if scheme not in _PACKAGES:  # fsspec's message names the package to install
            raise ValueError(f"{path} cannot be reached: {error}") from error
        raise ValueError(
            f"{path} needs {_PACKAGES[scheme]}, which is not installed: "
            "pip install -e '.[buckets]' in the checkout of jukejax"
        ) from error
    except ValueError as error:  # an unknown kind
        raise ValueError(f"{path} cannot be reached: {error}") from error
    return filesystem, filesystem._strip_protocol(path)


@functools.cache
def make_filesystem(scheme: str, process: int) -> "fsspec.AbstractFileSystem":
    """Returns the client of a kind of buckets: one for all threads (fsspec makes one for each).

    Args:
      process: its number; a client does not survive a fork.
    """
    import fsspec

    del process
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # its errors are raised too
    options = {"config_kwargs": _S3_CONFIG} if scheme == "s3" else {}
    filesystem = fsspec.filesystem(scheme, **options)
    if scheme == "s3":
        filesystem.retries = 1
    return filesystem
