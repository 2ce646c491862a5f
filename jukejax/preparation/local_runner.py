"""Preparing on one machine: a pool of worker processes that no accident outlives."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection

from jukejax.preparation import tracks
from jukejax.preparation.job import Job


def make_tracks(
    sources: Sequence[tracks.Source],
    job: Job,
    *,
    workers: int,
    progress: Callable[[int, str], None],
) -> list[tracks.Made]:
    """Runs `job` on every source in worker processes; results in the order of `sources`.

    Args:
      workers: processes; 0 means one per core.
      progress: told how many sources are done and the name of the last one, "" if it is unusable.

    Raises:
      ValueError: if a worker is killed.
      OSError: if the cache cannot be written.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(sources))
    made: dict[str, tracks.Made] = {}
    with _one_thread_each():
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker
        )
        try:
            futures = [pool.submit(job, source) for source in sources]
            for done, future in enumerate(as_completed(futures), start=1):
                result = future.result()
                made[result.name] = result
                progress(done, result.name if not result.reason else "")
        except BrokenProcessPool as error:
            left = [source.name for source in sources if source.name not in made]
            raise ValueError(
                f"a worker died, most likely out of memory or on one of {', '.join(left[:workers])}"
                "; run again with fewer --workers, or move that file away (what is done is kept)"
            ) from error
        finally:
            if len(made) < len(sources):  # stopped: nobody waits for the tracks at work
                for worker in multiprocessing.active_children():
                    worker.kill()
            pool.shutdown(cancel_futures=True)
    return [made[source.name] for source in sources]


def _start_worker() -> None:
    """In each worker: Ctrl-C is the parent's to handle, and no worker outlives the parent.

    Decoders write to stderr what they think of a file; the reason that counts is in `Made`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    parent = multiprocessing.parent_process()

    def watch():
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers started in here do their linear algebra on one thread: as fast, and the same bytes
    whatever the number of workers."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
