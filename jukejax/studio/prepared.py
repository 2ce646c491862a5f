"""A process that prepares for a take before its job is known.

    python -m jukejax.studio.prepared FOLDER

FOLDER is that of the projects, and names the server in the list of processes. The process imports
the sampler and compiles the programs of a sketch (on CPUs only: elsewhere it would hold the memory
of the device). Then it waits for one line on stdin, a job as JSON, and runs it as `sample` does in
a process of its own. It ends without a job when the server ends.
"""

import concurrent.futures
import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jukejax.common.progress import PROGRESS_FILE
from jukejax.runtime import platform_flags

VERB = "sample"  # of the jobs for which it prepares


def format_command(root: Path) -> list[str]:
    """Returns the command line of the process of a folder of projects."""
    return [sys.executable, "-m", "jukejax.studio.prepared", str(root)]


class PreparedProcess:
    """The process, from its start to its job."""

    def __init__(self, root: Path):
        """Starts to prepare for a job of this folder of projects."""
        self._process = subprocess.Popen(
            format_command(root),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def is_alive(self) -> bool:
        """Returns true until it has ended by itself."""
        return self._process.poll() is None

    def start_job(
        self, arguments: Sequence[str], *, log: Path, progress: Path
    ) -> subprocess.Popen[bytes]:
        """Hands over a job; the arguments are those of `child.start_child`.

        Raises:
          OSError: the process has ended, or the log cannot be written.
        """
        log.open("ab").close()
        job = {"arguments": list(arguments), "log": str(log), "progress": str(progress)}
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(json.dumps(job).encode() + b"\n")
        return self._process

    def end(self) -> None:
        """Ends the process, which has no job."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()


def list_steps() -> Iterator[Callable[[], None]]:
    """Yields the steps of the preparation."""
    yield _import_sampler
    if platform_flags.on_cpu():
        yield _compile_sketch


def main() -> None:
    """Prepares, and runs one job."""
    platform_flags.configure_process()  # before JAX is imported
    line = concurrent.futures.ThreadPoolExecutor(1).submit(sys.stdin.readline)
    for step in list_steps():
        if line.done():
            break  # the job does what is left
        with contextlib.suppress(Exception):  # the job reports it
            step()
    if line.result():
        _run_job(**json.loads(line.result()))


def _import_sampler() -> None:
    importlib.import_module(f"jukejax.{VERB}")
    import jukejax.sampling.run  # noqa: F401


def _compile_sketch() -> None:
    from jukejax.sampling.warm_up import compile_sketch
    from jukejax.weights.shipped import HOUSE, resolve_model

    compile_sketch(resolve_model(HOUSE))


def _run_job(arguments: Sequence[str], log: str, progress: str) -> None:
    """Runs `sample`, as a process that `child.start_child` starts; it ends this process."""
    command = importlib.import_module(f"jukejax.{VERB}")
    os.environ[PROGRESS_FILE] = progress
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    command.start([f"jukejax.{VERB}", *arguments])


if __name__ == "__main__":
    main()
