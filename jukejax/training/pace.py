"""Means of the metrics, and the speed of the steps, between two lines of the log."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from jukejax.runtime import distributed, memory
from jukejax.training import flops
from jukejax.training.feeding import Feeder
from jukejax.training.task import Task

REPETITION = (4, 16)  # epochs at which a warning is printed


class MetricAccumulator:
    """Collects the metrics of steps, which stay on the devices until `mean` is called."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, jax.Array]] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def last(self) -> Mapping[str, jax.Array]:
        """The metrics of the last step."""
        return self._rows[-1]

    def add(self, metrics: Mapping[str, jax.Array]) -> None:
        """Adds the metrics of a step."""
        self._rows.append(metrics)

    def mean(self) -> dict[str, float]:
        """Computes the mean of each metric over the steps where it is finite; NaN without any."""
        means = {}
        for name in self._rows[0]:
            values = np.array([float(row[name]) for row in self._rows])
            finite = values[np.isfinite(values)]
            means[name] = float(finite.mean()) if finite.size else float("nan")
        return means

    def reset(self) -> None:
        """Removes the metrics of all steps."""
        self._rows = []


class StepTimer:
    """Measures the seconds of training, and of waiting for data, since its last reset."""

    def __init__(self, batches: Feeder):
        self._batches = batches
        self.reset()

    def reset(self) -> None:
        """Sets both times to zero."""
        self._started_at = time.monotonic()
        self._wait_before = self._batches.wait_seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the last reset, without pauses."""
        return time.monotonic() - self._started_at

    @property
    def wait_seconds(self) -> float:
        """Seconds since the last reset that were spent waiting for data."""
        return self._batches.wait_seconds - self._wait_before

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the duration of the `with` block from `elapsed`."""
        paused_at = time.monotonic()
        yield
        self._started_at += time.monotonic() - paused_at


class Pace:
    """Computes the speed of a run from the duration of its steps."""

    def __init__(self, task: Task, batch_size: int, peak_flops: float | None, num_devices: int):
        """Stores the constants of a run.

        Args:
          batch_size: examples of a global batch.
          peak_flops: FLOP/s of one device; None if unknown.
        """
        self._task, self._batch_size = task, batch_size
        self._peak_flops, self._num_devices = peak_flops, num_devices

    def measure(
        self, step: int, steps: int, elapsed: float, wait_seconds: float
    ) -> dict[str, float]:
        """Computes the speed metrics of the last `steps` steps, of which `step` is the last.

        Args:
          elapsed: duration of these steps in seconds.
          wait_seconds: seconds of `elapsed` that were spent waiting for data.
        """
        examples = self._batch_size * steps
        metrics = {
            "examples_per_s": examples / elapsed,
            "tokens_per_s": examples * self._task.example_codes / elapsed,
            "data_wait": wait_seconds / elapsed,
            "memory_bytes": memory.peak_bytes(),
        }
        if self._peak_flops:
            metrics["mfu"] = flops.compute_mfu(
                flops.sum_parts(self._task.work),
                metrics["examples_per_s"],
                self._peak_flops,
                self._num_devices,
            )
        if self._task.epoch_size:
            metrics["epochs"] = self.count_epochs(step)
        return metrics

    def count_epochs(self, step: int) -> float:
        """Computes the number of passes over the training split after `step` steps."""
        return step * self._batch_size / self._task.epoch_size

    def warn_of_repetition(self, step: int, steps: int) -> None:
        """Prints a warning if one of the last `steps` steps reached a limit of `REPETITION`."""
        if not self._task.epoch_size or not distributed.is_writer():
            return
        for limit in REPETITION:
            if self.count_epochs(step - steps) < limit <= self.count_epochs(step):
                print(
                    f"warning: every window has been seen {limit} times at step {step}; watch the "
                    "held-out loss, and run audit on what the model samples",
                    file=sys.stderr,
                )
