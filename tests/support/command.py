"""Calls of the commands: in processes of their own as users do, or, much faster, in this one."""

import contextlib
import importlib
import importlib.metadata
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"

# Tests run most programs once or twice, so that compiling dominates: the first flag took
# test_training from 69 to 40 s of processor time, the others test_precision from 55 to 36 s. XLA
# ends a process with a flag that it does not know.
FAST_COMPILE = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FAST_COMPILE += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def environment(xla_flags: str = FAST_COMPILE) -> dict[str, str]:
    """Returns an environment with one CPU device and the compilation cache of the tests."""
    inherited = {name: value for name, value in os.environ.items() if name != "NPROC"}
    return inherited | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags}


def command(verb: str, *args: str) -> list[str]:
    """Returns the command line of a verb."""
    return [sys.executable, "-m", f"jukejax.{verb}", *map(str, args)]


def run(verb: str, *args: str, code: int = 0) -> subprocess.CompletedProcess:
    """Runs a verb and checks its exit code."""
    done = subprocess.run(
        command(verb, *args), cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == code, f"{verb} {args}: {done.returncode}\n{done.stderr[-3000:]}"
    return done


def run_in_process(verb: str, *args: str, code: int = 0) -> subprocess.CompletedProcess:
    """Calls a verb within this process and checks its exit code; see `call_in_process`."""
    done = call_in_process(verb, *args)
    assert done.returncode == code, f"{verb} {args}: {done.returncode}\n{done.stderr[-3000:]}"
    return done


def call_in_process(verb: str, *args: str) -> subprocess.CompletedProcess:
    """Calls a verb within this process.

    As a process, without the seconds that a new one takes to import JAX and to load programs. Not
    for tests of signals, environment variables and warnings at exit.
    """
    from jukejax.runtime import platform_flags

    stdout, stderr = io.StringIO(), io.StringIO()
    module = importlib.import_module(f"jukejax.{verb}")
    argv = [f"jukejax.{verb}", *map(str, args)]
    with (
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        contextlib.chdir(ROOT),
        mock.patch.object(sys, "argv", argv),  # ml_collections reads it
        mock.patch.object(platform_flags, "keep_memory"),  # a setting of the whole process
        hide_other_devices(),
    ):
        try:
            module.start(argv)
        except SystemExit as ended:
            returncode = ended.code
    return subprocess.CompletedProcess(argv, returncode, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def hide_other_devices() -> Iterator[None]:
    """Hides all devices of this process but the first, as in the processes of `run`."""
    import jax  # after tests/conftest.py has set its environment

    first = jax.devices()[:1]
    with contextlib.ExitStack() as stack:
        for name in ("devices", "local_devices"):
            stack.enter_context(mock.patch.object(jax, name, return_value=first))
        for name in ("device_count", "local_device_count"):
            stack.enter_context(mock.patch.object(jax, name, return_value=1))
        yield


def stop_when(verb: str, *args: str, ready, with_signal: int = signal.SIGKILL) -> int:
    """Starts a verb, sends the signal as soon as `ready()` holds, returns the exit code."""
    process = subprocess.Popen(
        command(verb, *args),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    try:
        while not ready():
            assert process.poll() is None, f"{verb} ended by itself before it was stopped"
            assert time.monotonic() < deadline, f"{verb} did not get ready"
            time.sleep(0.005)
        process.send_signal(with_signal)
        return process.wait(timeout=60)
    finally:
        process.kill()
