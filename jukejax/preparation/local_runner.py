"""Preparation on one machine, in a pool of worker processes that end with their parent."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from jukejax.preparation.job import Job
from jukejax.preparation.prepared_track import PreparedTrack, Source
from jukejax.runtime.processors import count_processors


def prepare_locally(
    sources: Sequence[Source],
    job: Job,
    *,
    workers: int,
    progress: Callable[[int, str], None],
) -> list[PreparedTrack]:
    """Runs `job` on every source in worker processes; returns results in the order of `sources`.

    Args:
      workers: processes; 0 means one per core.
      progress: called with the number of finished sources and the name of the last one ("" if the
        source is unusable).

    Raises:
      ValueError: a worker was killed.
      OSError: the cache cannot be written.
    """
    workers = min(workers or count_processors(), len(sources))
    results: dict[str, PreparedTrack] = {}
    with _one_thread_per_worker():
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_initialize_worker
        )
        try:
            futures = [pool.submit(job, source) for source in sources]
            for done, future in enumerate(as_completed(futures), start=1):
                result = future.result()
                results[result.name] = result
                progress(done, result.name if not result.reason else "")
        except BrokenProcessPool as error:
            missing = [source.name for source in sources if source.name not in results]
            raise ValueError(
                f"a worker died, most likely out of memory or on one of "
                f"{', '.join(missing[:workers])}; run again with fewer --workers, or move that "
                "file away (finished work is kept)"
            ) from error
        finally:
            if len(results) < len(sources):  # interrupted: do not wait for unfinished tracks
                for worker in multiprocessing.active_children():
                    worker.kill()
            pool.shutdown(cancel_futures=True)
    return [results[source.name] for source in sources]


def _initialize_worker() -> None:
    """Ignores Ctrl-C, which the parent handles, silences decoders, and ends with the parent.

    Decoders write their messages to stderr; the reason of a failure is in `PreparedTrack`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _one_thread_per_worker() -> Iterator[None]:
    """Limits the linear algebra of workers that are started in the `with` block to one thread.

    It is as fast, and the output does not depend on the number of workers.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    previous = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
