"""Memory of accelerators, of this machine and of this process: size and peak."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jukejax.runtime import devices

if TYPE_CHECKING:
    import jax


def peak_bytes() -> int:
    """Returns the largest peak of this process's accelerators; on CPUs the peak of the process."""
    import jax  # not needed for the memory of a process

    stats_of_devices = [device.memory_stats() or {} for device in jax.local_devices()]
    used = [
        stats["peak_bytes_in_use"] for stats in stats_of_devices if "peak_bytes_in_use" in stats
    ]
    return max(used) if used else process_peak_bytes()


def process_peak_bytes() -> int:
    """Returns the peak of this process in bytes; 0 on Windows, where it is not measured.

    It is read from /proc if possible: Linux's `getrusage` includes the memory of the parent at the
    start of this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    if sys.platform == "win32":
        return 0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine_bytes() -> int:
    """Returns the memory of this machine in bytes."""
    if sys.platform == "win32":
        kilobytes = ctypes.c_ulonglong()
        ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
        return 1024 * kilobytes.value
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usable_bytes(device: jax.Device) -> float | None:
    """Returns the bytes of a JAX device that a program can use; on CPUs the machine's memory."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    if device.platform == "cpu":
        return machine_bytes()
    specification = devices.find_device(device.device_kind)
    return specification.memory if specification else None
