"""Compiler flags and memory settings that our commands want on CPUs, set before JAX's first
computation and only where they are known to be taken.

What the user's own XLA_FLAGS says stays as it is.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform

# jaxlib: flags for CPUs. XLA ends a process that is given a flag it does not know, so a flag is
# only set for releases that it was tried with.
CPU_FLAGS = {
    "0.10": {"--xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"},
}
# Processor time of a training step with the flag and without, fastest of a few on a busy machine of
# two cores: 0.89 at width 1024 and at 512, 1.13 at 256. So narrow models go without.
WIDE = 512


# glibc's malloc.h. A program's intermediate arrays are allocated anew at each call: from fresh
# pages of the kernel's unless malloc keeps what was freed (no mapping, no trimming, one arena).
KEEP_MEMORY = {-4: 0, -1: -1, -8: 1}  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX


def on_cpu() -> bool:
    """Whether JAX will run on the CPU: it is told to, or knows no accelerator."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))


def keep_memory() -> None:
    """Keeps freed memory for the next step, on CPUs under glibc.

    Of a training step of six layers 256 wide on two cores, 0.42 s became 0.32 s; the process may
    hold up to twice the memory. Before any thread is started.
    """
    if on_cpu() and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in KEEP_MEMORY.items():
            libc.mallopt(parameter, value)


def set_defaults(width: int) -> None:
    """Adds our flags to XLA_FLAGS, for training a transformer of this width; 0 for other models."""
    release = ".".join(importlib.metadata.version("jaxlib").split(".")[:2])
    given = os.environ.get("XLA_FLAGS", "")
    ours = CPU_FLAGS.get(release, {}) if width >= WIDE and on_cpu() else {}
    added = [f"{name}={value}" for name, value in ours.items() if name not in given]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([*given.split(), *added])


def width(config) -> int:
    """The width of a config's transformer; 0 if it trains none."""
    model = config.get("model", {})
    return model.get("transformer", {}).get("emb_dim", 0)
