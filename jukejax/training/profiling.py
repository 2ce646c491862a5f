"""Traces of training steps by JAX's profiler, which TensorBoard and xprof open."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from jukejax.runtime import distributed

FOLDER = "profile"  # in a workdir


@contextlib.contextmanager
def trace_calls(folder: Path) -> Iterator[None]:
    """Traces the devices and the host within a `with` block, to a new file of `folder`.

    Calls of Python functions are not traced: they are most of a trace, and slow the steps.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, profiler_options=options):
        yield


class StepTracer:
    """Traces some steps of a run; each process writes the trace of its devices.

    A run that continues within these steps traces the rest of them.
    """

    def __init__(self, steps: range, workdir: Path):
        self._steps, self._folder = steps, workdir / FOLDER
        self._trace = contextlib.ExitStack()
        self._is_tracing = False

    @contextlib.contextmanager
    def trace_step(self, step: int) -> Iterator[None]:
        """Marks a step in the trace, if it is one to trace; starts the trace with the first."""
        if step not in self._steps:
            yield
            return
        if not self._is_tracing:
            self._trace.enter_context(trace_calls(self._folder))
            self._is_tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def end_step(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Ends the trace with its last step, when the devices are done with it."""
        if self._is_tracing and step == self._steps[-1]:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        """Writes the trace if it has begun."""
        if self._is_tracing:
            self._is_tracing = False
            self._trace.close()
            if distributed.is_writer():
                print(f"traced steps: {self._folder}", file=sys.stderr)
