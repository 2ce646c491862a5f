"""Compiler flags and memory settings that our commands want on CPUs, set before JAX's first
computation and only where they are known to be taken.

What the user's own XLA_FLAGS says stays as it is.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

# jaxlib: flags for CPUs. XLA ends a process that is given a flag it does not know, so a flag is
# only set for releases that it was tried with.
CPU_FLAGS = {
    "0.10": {"--xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"},
}
# Processor time of a training step with the flag and without, fastest of a few on a busy machine of
# two cores: 0.89 at width 1024 and at 512, 1.13 at 256 and 1,024 positions. So models that are
# narrow and short go without: at width 256 and 8,192 positions the three kinds of attention took
# 54 ms with the flag and 65 without, fastest of 30, forward and backward.
WIDE, LONG = 512, 4096


# glibc's malloc.h. A program's intermediate arrays are allocated anew at each call: from fresh
# pages of the kernel's unless malloc keeps what was freed (no mapping, no trimming, one arena).
HUGE_PAGES = ("glibc.malloc.hugetlb", "1")  # transparent ones, where the kernel lets programs ask
KEEP_MEMORY = {-4: 0, -1: -1, -8: 1}  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX


def on_cpu() -> bool:
    """Whether JAX will run on the CPU: it is told to, or knows no accelerator."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))


def keep_memory() -> None:
    """Keeps freed memory for the next step, in huge pages, on CPUs under glibc.

    Of a training step of six layers 256 wide on two cores, 0.42 s became 0.32 s; the process may
    hold up to twice the memory. Huge pages took another tenth of the processor time (1.17 to 1.07
    s), for there are no page faults left. Before any thread is started.
    """
    if on_cpu() and platform.libc_ver()[0] == "glibc":
        _start_again_with_huge_pages()
        libc = ctypes.CDLL(None)
        for parameter, value in KEEP_MEMORY.items():
            libc.mallopt(parameter, value)


def release_memory() -> None:
    """Gives the system back what `keep_memory` kept, before work of quite another size."""
    if on_cpu() and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _start_again_with_huge_pages() -> None:
    """Replaces this process by the same command with glibc told to use them, which it is only
    where a program starts. Not of programs that are no command of ours (tests, notebooks)."""
    said = os.environ.get("GLIBC_TUNABLES", "")
    if HUGE_PAGES[0] in said or not _is_command(sys.orig_argv):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, [said, "=".join(HUGE_PAGES)]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_command(words: Sequence[str]) -> bool:
    """Whether a command line is `python -m jukejax.VERB ...` or `jukejax VERB ...`."""
    found = words[1:3] + [""] * 2
    return found[1].startswith("jukejax.") if found[0] == "-m" else Path(found[0]).name == "jukejax"


def set_defaults(width: int, seq_len: int) -> None:
    """Adds our flags to XLA_FLAGS, for training a transformer of this shape; 0 for other models."""
    release = ".".join(importlib.metadata.version("jaxlib").split(".")[:2])
    given = os.environ.get("XLA_FLAGS", "")
    large = width >= WIDE or seq_len >= LONG
    ours = CPU_FLAGS.get(release, {}) if large and on_cpu() else {}
    added = [f"{name}={value}" for name, value in ours.items() if name not in given]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([*given.split(), *added])


def shape(config) -> tuple[int, int]:
    """Width and positions of a config's transformer; 0 if it trains none."""
    transformer = config.get("model", {}).get("transformer", {})
    return transformer.get("emb_dim", 0), transformer.get("seq_len", 0)
