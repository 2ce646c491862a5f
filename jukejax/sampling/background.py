"""Work beside the sampling, in one thread: the page, and preparations for later levels.

Sampling waits for compiled programs most of the time; other threads run meanwhile. Before the first
audio of a stream nothing else runs: JAX traces the programs until then.
"""

import concurrent.futures
import contextlib
from collections.abc import Sequence
from pathlib import Path

from jukejax.inference.loaded_model import Model
from jukejax.pages import pictures, report
from jukejax.weights import part_configs


class BackgroundWork:
    """Prepares the levels after the first one, and writes the page of the finished ones."""

    def __init__(self, model: Model, levels: Sequence[int], output: Path):
        """Plans the work.

        Args:
          levels: that are still to be sampled, in this order; nothing is prepared for none.
        """
        self._model, self._output = model, output
        self._unprepared = levels
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pages: list[concurrent.futures.Future] = []

    def prepare(self) -> None:
        """Starts the preparations, if they have not been started."""
        if self._unprepared:
            self._pool.submit(_prepare_levels, self._model, self._unprepared[1:])
            self._unprepared = ()

    def update_page(self) -> None:
        """Writes the page of the tracks as soon as possible."""
        self._pages.append(self._pool.submit(report.write_sample_page, self._output))

    def wait_for_page(self) -> None:
        """Waits until the page is up to date; raises the error of writing it."""
        for update in self._pages:
            update.result()

    def stop(self) -> None:
        """Cancels what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _prepare_levels(model: Model, levels: Sequence[int]) -> None:
    """Fills the caches of what takes seconds: libraries of pictures, and shapes of priors.

    Errors are those of the step itself, which follows.
    """
    with contextlib.suppress(Exception):
        pictures.load_libraries(model.sample_rate)
        for level in levels:
            part_configs.find_part_shapes(model.read_config(level))
