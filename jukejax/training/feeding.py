"""Prefetching of training batches to the devices, with checkpoints of what was consumed."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import grain

from jukejax.common.types import Tree

_END = object()  # in place of a batch; its companion is the exception that ended the stream


class Feeder(grain.DatasetIterator):
    """Iterates over batches that a background thread places on the devices ahead of time.

    Grain can checkpoint it like the iterator that it wraps: `get_state` returns the state after the
    last batch that was returned, regardless of the batches that were prefetched. Nothing else may
    use the wrapped iterator.

    Attributes:
      wait_seconds: seconds that `__next__` has waited for data since the start; 0 where reading is
        faster than the steps.
    """

    def __init__(self, iterator: grain.DatasetIterator, put: Callable[[Any], Tree], depth: int = 2):
        """Wraps the iterator; the thread starts with the first batch, or with `start_prefetch`.

        Args:
          iterator: yields batches in host memory.
          put: maps a batch in host memory to arrays on devices, such as `sharding.put_batch` of a
            mesh. It runs in the background thread, where a mesh set in the main thread does not
            apply.
          depth: largest number of batches on the devices besides the one in use.

        Raises:
          ValueError: `depth` is below 1.
        """
        super().__init__()
        self._iterator, self._put, self._depth = iterator, put, depth
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.wait_seconds = 0.0
        if depth < 1:
            raise ValueError(f"a feeder of depth {depth} holds no batch; take 1 or more")
        self._state = iterator.get_state()

    def __next__(self) -> Tree:
        self._assert_not_closed()
        if self._error is not None:
            raise self._error
        self.start_prefetch()
        started_at = time.perf_counter()
        batch, state_or_error = self._ready.get()
        self.wait_seconds += time.perf_counter() - started_at
        self._free_slots.release()
        if batch is _END:
            self._error = state_or_error
            raise state_or_error
        self._state = state_or_error
        return batch

    def get_state(self) -> dict[str, Any]:
        """Returns the wrapped iterator's state after the last batch that was returned."""
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves the iterator to a state, and discards prefetched batches."""
        self._stop_prefetch()
        self._iterator.set_state(state)
        self._state, self._error = state, None

    def start_prefetch(self) -> None:
        """Starts the background thread if it is not running."""
        if self._thread is None:
            self._ready: queue.SimpleQueue = queue.SimpleQueue()
            self._free_slots = threading.Semaphore(self._depth)
            self._stopping = threading.Event()
            self._thread = threading.Thread(target=self._prefetch, name="feeder", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread and closes the wrapped iterator; to be called before the program ends."""
        if not self._closed:
            self._stop_prefetch()
            self._iterator.close()
        super().close()

    def _prefetch(self) -> None:
        while True:
            self._free_slots.acquire()
            if self._stopping.is_set():
                return
            try:
                batch = self._put(next(self._iterator))
            except BaseException as error:  # of any type: `__next__` raises it in the main thread
                self._ready.put((_END, error))
                return
            self._ready.put((batch, self._iterator.get_state()))

    def _stop_prefetch(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._free_slots.release()
            self._thread.join()
            self._thread = None
