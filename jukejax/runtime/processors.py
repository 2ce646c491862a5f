"""The processors that this process may use."""

import os
import sys


def count_processors() -> int:
    """Returns the number of processors of this process; on Windows and macOS of the machine."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
