"""Tests run on two fake CPU devices; JUKEJAX_TEST_PLATFORM=device takes the machine's accelerator.

More devices make everything slower, so the folder eight_devices is only collected where there are
eight: test_eight_devices.py starts a process for it.

Compiled programs are kept under .cache, so that a second run is much faster.
"""

import os
import signal
from pathlib import Path

from jukejax.common import mirrors, storage
from jukejax.runtime import platform_flags
from tests.support.command import FAST_COMPILE
from tests.support.object_server import run_server

if os.environ.get("JUKEJAX_TEST_PLATFORM") != "device":
    os.environ["JAX_PLATFORMS"] = "cpu"
flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in flags:
    os.environ["XLA_FLAGS"] = flags = flags + " --xla_force_host_platform_device_count=2"
if os.environ.get("JAX_PLATFORMS") == "cpu" and "optimization_level" not in flags:
    os.environ["XLA_FLAGS"] = (
        f"{flags} {FAST_COMPILE}"  # an accelerator's programs as they are used
    )
if "device_count=8" not in os.environ["XLA_FLAGS"]:
    collect_ignore = ["eight_devices"]
platform_flags.enlarge_thread_pool()
cache = Path(__file__).resolve().parents[1] / ".cache" / "jax"
cache.mkdir(parents=True, exist_ok=True)  # pytest's own folder lies beside it
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JUKEJAX_CPU_KERNELS", "0")  # the formulas that accelerators run
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")  # no TF32 where we compare
# A shell's background jobs ignore SIGINT, and so would what the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def key():
    """Returns a function that returns another key at each call."""
    root = jax.random.key(0)
    count = iter(range(1_000_000))
    return lambda: jax.random.fold_in(root, next(count))


def pytest_collection_modifyitems(items):
    """Sorts the longest files first, so that both workers end at about the same time.

    A file runs in one worker, whose tests share its fixtures.
    """
    longest = ("golden", "pipeline", "eight_devices", "prepare", "audit", "evaluate")
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in longest)


@pytest.fixture(scope="session")
def _running_object_server():
    for package in ("moto", "s3fs"):
        pytest.importorskip(package, reason="needs the extra buckets-test")
    with run_server() as server:
        yield server


@pytest.fixture
def object_server(_running_object_server, tmp_path, monkeypatch):
    """An S3 server, and the environment of its clients; see tests/support/object_server.py."""
    for name, value in _running_object_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUKEJAX_BUCKET_CACHE", str(tmp_path / "bucket_cache"))
    monkeypatch.setattr(mirrors, "_mirrors", [])  # those of earlier tests
    storage.make_filesystem.cache_clear()
    _running_object_server.inject()
    return _running_object_server
