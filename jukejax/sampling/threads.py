"""Iteration in a background thread, so that Ctrl-C is handled while a program runs."""

import concurrent.futures
import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def iterate_in_thread(steps: Iterable[T]) -> Iterator[T]:
    """Yields from `steps`, each of which is computed in a thread.

    Python handles signals in the main thread, between bytecode instructions: a main thread that
    waits for the result can be interrupted, but not one that runs a compiled program.
    """
    iterator = iter(steps)
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        while step := pool.submit(_take_one, iterator).result():
            yield step[0]
    finally:
        pool.shutdown(wait=False)


def _take_one(iterator: Iterator[T]) -> list[T]:
    """Returns the next item, or [] at the end."""
    return list(itertools.islice(iterator, 1))
