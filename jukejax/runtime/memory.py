"""How much memory there is, and the most that was in use so far: of an accelerator, or of this
machine and process."""

import os
import resource
import sys
from pathlib import Path

from jukejax.runtime import devices


def peak_bytes() -> int:
    """Of the fullest accelerator of this process; of the process itself where the backend does not
    say (CPUs)."""
    import jax  # not needed for the memory of a process

    found = [device.memory_stats() or {} for device in jax.local_devices()]
    used = [stats["peak_bytes_in_use"] for stats in found if "peak_bytes_in_use" in stats]
    return max(used) if used else process_peak_bytes()


def process_peak_bytes() -> int:
    """Of this process.

    Linux counts for `getrusage` also what the parent held when it started us, /proc does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine_bytes() -> int:
    """Of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_of(device) -> float | None:
    """Bytes of a JAX device that a program can use; of a CPU the machine's memory."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return limit
    if device.platform == "cpu":
        return machine_bytes()
    known = devices.find(device.device_kind)
    return known.memory if known else None
