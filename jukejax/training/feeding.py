"""The next batches go to the devices while a step runs; a checkpoint counts only what was used."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import grain

from jukejax.common.types import Tree

_END = object()  # in place of a batch: what follows is the exception that ended the stream


class Feeder(grain.DatasetIterator):
    """Batches of an iterator, placed on the devices ahead of time by a thread of its own.

    It is itself an iterator that grain's checkpoints take: `get_state` is the state behind the last
    batch that was handed out, whatever was read ahead. The wrapped iterator must not be used by
    anyone else.

    Attributes:
      waited: seconds that `__next__` spent waiting for data, since the start; 0 where reading is
        faster than the steps.
    """

    def __init__(self, iterator: grain.DatasetIterator, put: Callable[[Any], Tree], depth: int = 2):
        """Starts nothing yet: the thread begins with the first batch, or with `start_prefetch`.

        Args:
          iterator: gives host batches; has `get_state` and `set_state`.
          put: a host batch to arrays on devices, such as `sharding.put_batch` of a mesh. It runs in
            the thread, so a mesh set for the main thread does not count there.
          depth: batches that may lie on the devices beside the one in use.
        """
        super().__init__()
        self._iterator, self._put, self._depth = iterator, put, depth
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self.waited = 0.0
        if depth < 1:
            raise ValueError(f"a feeder of depth {depth} holds no batch; take 1 or more")
        self._state = iterator.get_state()

    def __next__(self) -> Tree:
        self._assert_not_closed()
        if self._failed is not None:
            raise self._failed
        self.start_prefetch()
        began = time.perf_counter()
        batch, behind = self._ready.get()
        self.waited += time.perf_counter() - began
        self._room.release()
        if batch is _END:
            self._failed = behind
            raise behind
        self._state = behind
        return batch

    def get_state(self) -> dict[str, Any]:
        """The wrapped iterator's state behind the last batch handed out."""
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a state; what was read ahead is dropped."""
        self._stop()
        self._iterator.set_state(state)
        self._state, self._failed = state, None

    def start_prefetch(self) -> None:
        """Begins to read ahead, if that has not begun."""
        if self._thread is None:
            self._ready: queue.SimpleQueue = queue.SimpleQueue()
            self._room = threading.Semaphore(self._depth)
            self._stopping = threading.Event()
            self._thread = threading.Thread(target=self._work, name="feeder", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread and closes the wrapped iterator; to be called before the program ends."""
        if not self._closed:
            self._stop()
            self._iterator.close()
        super().close()

    def _work(self) -> None:
        while True:
            self._room.acquire()
            if self._stopping.is_set():
                return
            try:
                batch = self._put(next(self._iterator))
            except BaseException as error:  # whatever it is, the main thread must hear of it
                self._ready.put((_END, error))
                return
            self._ready.put((batch, self._iterator.get_state()))

    def _stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._room.release()
            self._thread.join()
            self._thread = None
