"""The start of a worker process: small, so that it runs before torch is loaded there."""

import gc
import signal
from typing import Any

from initbench.collecting import collector_paused


def start_process(reports: Any) -> None:  # noqa: ANN401 - multiprocessing.Queue names no element type at run time
    """Load what training needs and prepare the worker; what was loaded stays, so the cyclic collector is spared it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # before the second that loading takes
    with collector_paused():
        from initbench import worker  # noqa: PLC0415 - unpickling this function must not load torch

        gc.freeze()
    worker.start_process(reports)
