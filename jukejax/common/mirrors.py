"""Local copies of folders of buckets, for the time of a process.

Code that opens files by their path (decoders, safetensors, matplotlib, Orbax) works in the copy.
`open_input` copies an object, or a folder without its shards and its checkpoints' states, which
stay in the bucket until they are read: `find_object`, `fetch`. What is written below a folder of
`open_output` is uploaded whole: at once by `publish`, which `files.replacing` calls, and the rest
when the folder is closed. The bucket alone is what a later process starts from.

etils.epath is not used here: it has no retries and no ranges, and its paths are none for libraries
in C. Orbax takes it for gs://.
"""

import atexit
import contextlib
import functools
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from jukejax.common import bucket_cache, locks, storage
from jukejax.common.formatting import format_count

CHECKPOINTS = "checkpoints"  # folder of a run, written by Orbax
MARK = "commit_success.txt"  # written last by Orbax and uploaded last: a checkpoint is complete
_STAYS = re.compile(rf"(^|/){CHECKPOINTS}/[^/]+/state/|\.tfrecord$")
_STEP = re.compile(rf"((?:^|.*/){CHECKPOINTS}/\d+)/")
_NEVER_STORED = re.compile(r"(^|/)(\.[^/]*\.tmp|\.?lock)$")
_COPIES = "copies"  # folder of the copies of all processes, in that of the cache
_THREADS = 8  # that copy objects


@dataclass
class Mirror:
    """A folder or an object of a bucket, and its local copy.

    Attributes:
      local: root of the copy.
      url: of the bucket's folder or object.
      writes: changes of the copy are stored in the bucket.
      is_deferred: files are stored by `push` alone, not at once by `publish`.
      objects: of the bucket, by path relative to the root, as they were copied or listed.
      pending: those that were not copied yet.
      stamps: size and time of each local file when it was copied.
      published_at: time of the last `publish` of a file.
    """

    local: Path
    url: str
    writes: bool = False
    is_deferred: bool = False
    objects: dict[str, storage.StoredObject] = field(default_factory=dict)
    pending: dict[str, storage.StoredObject] = field(default_factory=dict)
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    published_at: dict[str, float] = field(default_factory=dict)

    def path_of(self, name: str) -> Path:
        """Returns the local path of an object."""
        return self.local / name if name else self.local

    def name_of(self, path: Path) -> str:
        """Returns the path of an object relative to the root."""
        return "" if path == self.local else path.relative_to(self.local).as_posix()

    def url_of(self, name: str) -> str:
        """Returns the path of an object in the bucket."""
        return storage.join_path(self.url, name) if name else self.url

    def pull(self) -> None:
        """Copies the objects that changed, and removes the local files of removed ones."""
        listed = _drop_unfinished(storage.list_objects(self.url))
        for name in self.objects.keys() - listed.keys():
            self.path_of(name).unlink(missing_ok=True)
            self.pending.pop(name, None)
        changed = {name: entry for name, entry in listed.items() if self.objects.get(name) != entry}
        self.objects = listed
        self.pending |= changed
        self.fetch([name for name in changed if not (name and _STAYS.search(name))])

    def fetch(self, names: list[str]) -> None:
        """Copies pending objects."""
        with ThreadPoolExecutor(_THREADS) as pool:
            for name, _ in zip(names, pool.map(self._download, names), strict=True):
                self.pending.pop(name, None)
                self.stamps[name] = _read_stamp(self.path_of(name))

    def _download(self, name: str) -> None:
        storage.download(self.pending[name], self.path_of(name))

    def store(self, name: str) -> None:
        """Uploads a local file; without effect if it was removed meanwhile."""
        path = self.path_of(name)
        with contextlib.suppress(FileNotFoundError):
            stamp = _read_stamp(path)
            storage.upload(path, self.url_of(name))
            self.stamps[name] = stamp

    def push(self) -> int:
        """Stores all local changes; returns the number of files of the copy.

        Files may change meanwhile; the next call stores them again. The checkpoints of a run are
        left to `training.run_store`.
        """
        stored = [name for name in list(self.stamps) if not name.startswith(f"{CHECKPOINTS}/")]
        names = [name for name in self._list_files() if not name.startswith(f"{CHECKPOINTS}/")]
        changed = [name for name in names if self._is_changed(name)]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self.store, changed))
        for name in stored:
            if not self.path_of(name).exists():
                storage.remove_file(self.url_of(name))
                del self.stamps[name]
        return len(names)

    def _list_files(self) -> list[str]:
        paths = [self.local] if self.local.is_file() else self.local.rglob("*")
        names = sorted(self.name_of(path) for path in paths if path.is_file())
        return [name for name in names if not _NEVER_STORED.search(name)]

    def _is_changed(self, name: str) -> bool:
        try:
            return self.stamps.get(name) != _read_stamp(self.path_of(name))
        except FileNotFoundError:  # removed meanwhile
            return False


_mirrors: list[Mirror] = []  # of this process


def open_input(path: str | os.PathLike) -> Path:
    """Returns a local path, or the path of the copy of an object or a folder of a bucket.

    A path that is not in the bucket gives a path that does not exist. A second call copies what
    changed since the first one.
    """
    if not storage.is_remote(path):
        return Path(path)
    url = os.fspath(path).rstrip("/")
    mirror = next((m for m in _mirrors if m.url == url and not m.writes), None)
    if mirror is None:
        mirror = Mirror(_local_root(url, "in"), url)
        _mirrors.append(mirror)
    mirror.pull()
    return mirror.local


@contextlib.contextmanager
def open_output(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a local path, or the path of the copy of a folder of a bucket that is written.

    At the end, also after an error of the block, all changes are stored.
    """
    if not storage.is_remote(path):
        yield Path(path)
        return
    url = os.fspath(path).rstrip("/")
    mirror = Mirror(_local_root(url, "out"), url, writes=True)
    mirror.pull()
    _mirrors.append(mirror)
    try:
        yield mirror.local
    except storage.StorageError:
        raise  # the bucket is out of reach: it has what was stored before
    except BaseException:
        mirror.push()
        raise
    else:
        print(f"{format_count(mirror.push(), 'file')}: {url}", file=sys.stderr)
    finally:
        _mirrors.remove(mirror)
        shutil.rmtree(mirror.local, ignore_errors=True)


def find_mirror(path: str | os.PathLike) -> Mirror:
    """Returns the mirror whose root `open_input` or `open_output` of a bucket returned."""
    return next(mirror for mirror in _mirrors if mirror.local == Path(path))


def find_url(path: str | os.PathLike) -> str | None:
    """Returns the path in the bucket of a local path; None if it is no copy."""
    mirror = _find_mirror(path)
    return None if mirror is None else mirror.url_of(mirror.name_of(Path(path)))


def find_object(path: str | os.PathLike) -> storage.StoredObject | None:
    """Returns the object of a local path that was not copied; None if there is none."""
    mirror = _find_mirror(path)
    return None if mirror is None else mirror.pending.get(mirror.name_of(Path(path)))


def fetch(path: str | os.PathLike) -> None:
    """Copies what is not copied yet of a local path and of what is below it."""
    mirror = _find_mirror(path)
    if mirror is not None and mirror.pending:
        name = mirror.name_of(Path(path))
        inside = [n for n in mirror.pending if not name or n == name or n.startswith(f"{name}/")]
        mirror.fetch(inside)


def publish(path: str | os.PathLike, *, every: float = 0.0) -> None:
    """Uploads a finished file, if it is below a folder of `open_output`.

    Args:
      every: seconds; a file that was published within them is left for later.
    """
    mirror = _find_mirror(path)
    if mirror is None or not mirror.writes or mirror.is_deferred:
        return
    name = mirror.name_of(Path(path))
    if time.monotonic() - mirror.published_at.get(name, -every) >= every:
        mirror.store(name)
        mirror.published_at[name] = time.monotonic()


def discard(path: str | os.PathLike) -> None:
    """Removes a file, if it exists, and its object in the bucket at once."""
    Path(path).unlink(missing_ok=True)
    mirror = _find_mirror(path)
    if mirror is not None and mirror.writes and not mirror.is_deferred:
        name = mirror.name_of(Path(path))
        if name in mirror.objects or name in mirror.stamps:
            storage.remove_file(mirror.url_of(name))
        for table in (mirror.objects, mirror.pending, mirror.stamps):
            table.pop(name, None)


def restore_names(text: str) -> str:
    """Returns a text with the paths of copies replaced by those in the bucket."""
    if _COPIES not in text:
        return text
    copies = re.escape(str(bucket_cache.find_folder() / _COPIES))
    return re.sub(r"(?:file://)?" + copies + r"/[^/]+/(?:in|out)/(\w+)/", r"\1://", text)


def _find_mirror(path: str | os.PathLike) -> Mirror | None:
    if not _mirrors:
        return None
    path = Path(path)
    inside = [m for m in _mirrors if path == m.local or m.local in path.parents]
    return max(inside, key=lambda mirror: len(mirror.url), default=None)


def _drop_unfinished(
    objects: dict[str, storage.StoredObject],
) -> dict[str, storage.StoredObject]:
    """Returns the objects without those of checkpoints whose upload did not end."""
    steps = {name: step[1] for name in objects if (step := _STEP.match(name))}
    return {
        name: entry
        for name, entry in objects.items()
        if name not in steps or f"{steps[name]}/{MARK}" in objects
    }


def _read_stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _local_root(url: str, scope: str) -> Path:
    scheme, _, name = url.partition("://")
    root = _process_folder(bucket_cache.find_folder() / _COPIES) / scope / scheme / name
    root.parent.mkdir(parents=True, exist_ok=True)
    return root


@functools.cache
def _process_folder(parent: Path) -> Path:
    """Makes the folder of the copies of this process; removes those of processes that ended."""
    parent.mkdir(parents=True, exist_ok=True)
    for path in parent.glob("*.lock"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), open(path, "r+b", 0) as file:
            locks.lock_open_file(file)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="process-", dir=parent))
    lock = open(folder.with_suffix(".lock"), "ab", 0)  # noqa: SIM115 - open until the process ends
    locks.lock_open_file(lock)
    atexit.register(_remove_folder, folder, lock)
    return folder


def _remove_folder(folder: Path, lock: io.FileIO) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    locks.remove_file(lock, Path(lock.name))
