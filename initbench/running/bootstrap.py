"""Worker bootstrap: runs before torch is imported, which takes seconds."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import threading
from typing import Any

from initbench.core.children import end_with_parent
from initbench.core.gc_pause import collector_paused

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
KEPT = 1 << 30  # bytes


def start_process(queue: Any, folder: str) -> None:  # noqa: ANN401 - multiprocessing.Queue names no element type
    """Prepare a worker process: it ignores Ctrl-C, which the parent handles, and ends with its parent.

    `folder` is the parent's working directory, which relative paths to the user's code start from; a spawned process
    would begin in the directory that the parent was started in.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    end_with_parent()
    keep_memory()
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # the parent's stdout is for data, and the user's own code may print
    os.chdir(folder)
    queue.cancel_join_thread()  # an unread report must not keep a worker from ending

    with collector_paused():  # what is imported here is never freed
        import initbench.training.loop  # noqa: F401, PLC0415 - unpickling this function must not load torch
        from initbench.running import worker  # noqa: PLC0415 - likewise

        gc.freeze()
    worker.report_to(queue)


def keep_memory() -> None:
    """Keep freed memory for the next step, if the C library is glibc.

    By default it returns large buffers to the kernel, which then clears the pages of the next one: that took half of
    the processor time of a convolution, and a twentieth of that of a Linear layer.
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
