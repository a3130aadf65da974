"""The first moments of a worker process, before it imports torch, which takes it seconds."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from typing import Any

from initbench.core.gc_pause import collector_paused

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
KEPT = 1 << 30  # bytes


def start_process(queue: Any, folder: str) -> None:  # noqa: ANN401 - multiprocessing.Queue names no element type
    """Prepare a worker process: Ctrl-C is the parent's to answer, and a worker does not outlive its parent.

    `folder` is where the parent is now, which relative paths to the user's code start from; left to itself a spawned
    process begins where the parent once began.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if sys.platform == "linux":  # whose kernel sees to it even where a trial lets no other thread run
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    keep_memory()
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # the parent's stdout is for data, and the user's own code may print
    os.chdir(folder)
    queue.cancel_join_thread()  # a report that nobody reads must not keep a worker from ending

    with collector_paused():  # what is loaded now stays
        from initbench.running import worker  # noqa: PLC0415 - unpickling this function must not load torch

        gc.freeze()
    worker.report_to(queue)


def keep_memory() -> None:
    """Have freed memory kept for the next step, where the C library is glibc.

    By itself it gives large buffers back to the kernel, which then clears the pages of the next one: a convolution's
    activations cost half of the processor's time so, a Linear layer's a twentieth.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
