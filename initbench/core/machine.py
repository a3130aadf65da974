"""The machine as Python sees it, without torch."""

import os
from pathlib import Path


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_single_threaded() -> bool:
    """Return whether this process has one thread, those of C libraries included; False where that cannot be told."""
    threads = Path("/proc/self/task")
    return threads.is_dir() and len(list(threads.iterdir())) == 1
