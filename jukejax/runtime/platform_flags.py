"""Compiler flags and memory settings of the commands on CPUs, set before JAX's first computation.

Flags in the user's XLA_FLAGS are not changed.
"""

import ctypes
import gc
import importlib.metadata
import importlib.util
import os
import platform
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from jukejax.common import files, user_cache

# By release of jaxlib. XLA aborts a process with an unknown flag, so that a flag is only set for
# releases on which it was tested.
CPU_FLAGS = {
    "0.10": {"--xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"},
}
# Ratio of a training step's processor time with the flag to that without it, fastest of a few runs
# on a busy machine of two cores: 0.89 at width 1024 and at 512, 1.13 at 256 and 1,024 positions. It
# is therefore not set for narrow and short models. At width 256 and 8,192 positions the three kinds
# of attention took 54 ms with the flag and 65 ms without, fastest of 30, forward and backward.
WIDE, LONG = 512, 4096

# Objects that Python allocates between two searches for unreachable ones. Tracing allocates many
# that are reachable: with Python's 700 (2,000 since 3.12), `sample` of four seconds with all levels
# took 23 to 27 s of processor time, of which 2 to 5 s were such searches.
ALLOCATIONS = 50_000

THREADS_PER_DEVICE = 8  # of XLA, where a process has several CPU devices

# Parameters of glibc's mallopt: no memory mapping, no trimming, one arena. Otherwise the
# intermediate arrays of a program are allocated from new pages of the kernel at each call.
KEEP_MEMORY = {-4: 0, -1: -1, -8: 1}  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX


def on_cpu() -> bool:
    """Returns true if JAX will run on the CPU, by JAX_PLATFORMS or for lack of a plugin."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))


def collect_garbage_rarely() -> None:
    """Configures Python to search for unreachable objects after `ALLOCATIONS` new ones."""
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])


def keep_memory() -> None:
    """Configures malloc to keep freed memory for the next step, on CPUs with glibc.

    It must be called before any thread is started. A training step of six layers of width 256 took
    0.32 s instead of 0.42 s on two cores; the process may hold up to twice the memory.
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the environment, which glibc reads only when a program
    starts, saves another tenth of the processor time (1.07 instead of 1.17 s).
    """
    if on_cpu() and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in KEEP_MEMORY.items():
            libc.mallopt(parameter, value)


def release_memory() -> None:
    """Releases the memory that malloc keeps to the operating system."""
    if on_cpu() and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def configure_process() -> None:
    """Sets what every command needs before it imports JAX: its cache, rare garbage collection."""
    set_compile_cache()
    collect_garbage_rarely()


def set_compile_cache() -> None:
    """Sets the folder in which JAX keeps compiled programs between processes.

    That is `.cache/jax` in a checkout, else `jukejax` in the user's cache folder, with a folder for
    each kind of CPU: programs compiled for one may not run on another. It must be called before JAX
    is imported. JAX_COMPILATION_CACHE_DIR in the environment is not changed; empty: no cache.
    """
    root = files.REPOSITORY / ".cache"
    if not (files.REPOSITORY / "pyproject.toml").exists() or not os.access(root.parent, os.W_OK):
        root = user_cache.find_user_cache()
    folder = root / "jax" / _describe_cpu()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))


def _describe_cpu() -> str:
    """Returns a name for CPUs with the same instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{zlib.crc32(features.encode()):08x}"


def enlarge_thread_pool() -> None:
    """Sets the number of XLA's threads for a process that has several CPU devices.

    It must be called before JAX's first computation. Collectives on CPUs block a thread each, and
    XLA has one thread for each device or core. Where two collectives of a program can start at
    once, one device may block two threads, and then none is left for the last device that the
    others wait for: XLA ends the process after 40 s. With jaxlib 0.11.2, 8 devices and 2 cores that
    was 6 of 13 runs of configs/from_scratch.py:vqvae, and 0 of 4 with 64 threads. NPROC in the
    environment, which XLA reads, is not changed.
    """
    devices = re.search(r"device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if on_cpu() and devices and int(devices[1]) > 1:
        os.environ.setdefault("NPROC", str(THREADS_PER_DEVICE * int(devices[1])))


def set_defaults(width: int, seq_len: int) -> None:
    """Adds flags to XLA_FLAGS for training a transformer of this shape; 0 for other models."""
    release = ".".join(importlib.metadata.version("jaxlib").split(".")[:2])
    user_flags = os.environ.get("XLA_FLAGS", "")
    large = width >= WIDE or seq_len >= LONG
    flags = CPU_FLAGS.get(release, {}) if large and on_cpu() else {}
    added = [f"{name}={value}" for name, value in flags.items() if name not in user_flags]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([*user_flags.split(), *added])


def transformer_shape(config: Mapping) -> tuple[int, int]:
    """Returns the width and the positions of a config's transformer; zeros without one."""
    transformer = config.get("model", {}).get("transformer", {})
    return transformer.get("emb_dim", 0), transformer.get("seq_len", 0)
