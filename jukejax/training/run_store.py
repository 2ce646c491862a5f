"""The workdir of a run in a bucket: its files are stored while it trains.

The run works in a local copy. A thread stores what changed there every `INTERVAL` seconds, and each
checkpoint as soon as it is complete: first the other files (a run that resumes needs the rows of
its log), then the checkpoint, its mark last; then it removes the checkpoints that Orbax removed. A
killed run resumes from the newest checkpoint with a mark, on any machine.

Several processes share no local folder: there Orbax itself writes the checkpoints to the bucket,
which it does for gs:// only, and process 0 stores the other files.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etils import epath

from jukejax.common import mirrors, storage
from jukejax.common.mirrors import CHECKPOINTS, MARK, Mirror
from jukejax.runtime import distributed

INTERVAL = 60.0  # seconds between two uploads of the log
LONGEST_END = 300.0  # seconds in which the end of a run waits for a bucket out of reach
_POLL = 0.2  # seconds between two looks for a complete checkpoint
_PAUSE = 30.0  # seconds after an upload that failed
_THREADS = 8  # that upload a checkpoint


class RunStore:
    """Stores the local copy of a workdir in its bucket, in the background.

    Attributes:
      is_shared: of several processes.
      checkpoints: folder for Orbax, in the copy, or for several processes in the bucket.
    """

    def __init__(self, mirror: Mirror, *, is_shared: bool = False):
        """Takes the copy that `mirrors` made; only that of an `open_output` is stored."""
        self._mirror, self.is_shared = mirror, is_shared
        self._folder = mirror.local / CHECKPOINTS
        self.checkpoints = epath.Path(self._url_of()) if is_shared else self._folder
        self._stored = self._list_steps()
        self._pushed_at = time.monotonic()
        self._is_failing, self._lock = False, threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run store", daemon=True)
        if mirror.writes:
            mirror.is_deferred = True
            if not is_shared:
                self._remove_unfinished()
            self._thread.start()

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint in the bucket; None without."""
        return max(map(int, list(self._stored)), default=None)

    def open_copy(self) -> Path:
        """Returns a local copy of the workdir with all checkpoints, for reading."""
        return mirrors.open_input(self._mirror.url) if self.is_shared else self._mirror.local

    def fetch(self, step: int) -> None:
        """Copies a checkpoint from the bucket, if Orbax reads it here and it is not here yet."""
        if not self.is_shared:
            mirrors.fetch(self._folder / str(step))

    def set_aside(self, step: int, name: str) -> None:
        """Renames a checkpoint in the bucket."""
        with self._lock:
            storage.move_folder(self._url_of(str(step)), self._url_of(name))
            self._stored.discard(str(step))
            if not self.is_shared:
                os.replace(self._folder / str(step), self._folder / name)

    def wait(self) -> None:
        """Stores what is complete, before Orbax may remove older checkpoints.

        If the bucket cannot be reached, the run goes on, and the next call tries again.
        """
        if self._mirror.writes:
            with contextlib.suppress(OSError):
                self._store_all()

    def close(self) -> None:
        """Stores everything.

        Raises:
          OSError: the bucket cannot be reached, for `LONGEST_END` seconds.
        """
        if not self._mirror.writes:
            return
        self._closed.set()
        self._thread.join()
        deadline = time.monotonic() + LONGEST_END
        while True:
            try:
                self._store_all()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise

    def _run(self) -> None:
        pause = _POLL
        while not self._closed.wait(pause):
            pause = _POLL
            is_due = time.monotonic() - self._pushed_at > INTERVAL
            if is_due or self._list_steps() != self._stored:
                try:
                    self._store_all()
                except OSError:  # refused credentials, too
                    pause = _PAUSE

    def _store_all(self) -> None:
        with self._lock:
            try:
                self._mirror.push()
                steps = self._list_steps()
                for step in sorted(steps - self._stored, key=int):
                    self._upload(step)
                for step in self._stored - steps:
                    self._remove(step)
            except OSError as error:
                if not self._is_failing:
                    print(f"warning: {error}; it is tried again", file=sys.stderr, flush=True)
                self._is_failing = True
                raise
            self._is_failing, self._pushed_at = False, time.monotonic()

    def _list_steps(self) -> set[str]:
        """Lists the complete checkpoints of the copy: Orbax renames them when they are.

        None are listed if Orbax writes to the bucket.
        """
        is_here = self._folder.exists() and not self.is_shared
        names = os.listdir(self._folder) if is_here else []
        return {name for name in names if name.isdecimal()}

    def _upload(self, step: str) -> None:
        folder, url = self._folder / step, self._url_of(step)
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        with ThreadPoolExecutor(_THREADS) as pool:
            tasks = [
                pool.submit(storage.upload, folder / name, storage.join_path(url, name))
                for name in names
                if name != MARK
            ]
            for task in tasks:
                task.result()
        storage.store_bytes(b"This checkpoint is complete.", storage.join_path(url, MARK))
        self._stored.add(step)

    def _remove(self, step: str) -> None:
        url = self._url_of(step)
        storage.remove_file(storage.join_path(url, MARK))
        self._stored.discard(step)
        for entry in storage.list_objects(url).values():
            storage.remove_file(entry.url)

    def _remove_unfinished(self) -> None:
        """Removes what is left of checkpoints whose upload or removal did not end."""
        names = storage.list_files(self._url_of())
        steps = {name.partition("/")[0] for name in names}
        for step in steps - self._stored:
            if step.isdecimal():
                self._remove(step)

    def _url_of(self, *names: str) -> str:
        return storage.join_path(self._mirror.url, CHECKPOINTS, *names)


@contextlib.contextmanager
def open_workdir(workdir: str) -> Iterator[tuple[Path, RunStore | None]]:
    """Yields the local folder of a run, and what stores it in a bucket if the workdir is there.

    Raises:
      ValueError: the bucket cannot be reached, or is not for several processes.
    """
    if not storage.is_remote(workdir):
        yield Path(workdir), None
        return
    is_shared = distributed.is_shared()
    if is_shared and not workdir.startswith("gs://"):
        raise ValueError(
            f"--workdir={workdir}: a run of several processes takes gs://, or a folder on a disk "
            "that all of them share"
        )
    storage.check_reachable(workdir, "workdir")
    if not distributed.is_writer():
        folder = mirrors.open_input(workdir)
        yield folder, RunStore(mirrors.find_mirror(folder), is_shared=is_shared)
        return
    with mirrors.open_output(workdir) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        store = RunStore(mirrors.find_mirror(folder), is_shared=is_shared)
        try:
            yield folder, store
        finally:
            store.close()
