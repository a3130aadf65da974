"""Where groups are trained: `concurrent.futures` executors on this machine."""

import contextlib
import multiprocessing
import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from initbench import starting, worker


@dataclass(frozen=True)
class Workers:
    """An executor, and the queue on which its workers report (trial id, step)."""

    executor: Executor
    reports: Any

    def drain(self) -> dict[str, int]:
        """Return the newest step of each trial reported since the last call."""
        newest: dict[str, int] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                trial_id, step = self.reports.get_nowait()
                newest[trial_id] = step
        return newest


def local(jobs: int) -> AbstractContextManager[Workers]:
    """Open workers on this machine: one spawned process a job, or for one job a thread of this process.

    Leaving the block early (an exception, Ctrl-C) ends the workers at once; only what they were training is lost.
    """
    return _thread() if jobs == 1 else processes(jobs)


@contextmanager
def _thread() -> Iterator[Workers]:
    reports: queue.Queue[tuple[str, int]] = queue.Queue()
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, "initbench", worker.start_thread, (reports, stop))
    try:
        yield Workers(executor, reports)
    finally:
        stop.set()  # after the last result nobody is training; before it, the thread stops at its next step
        executor.shutdown(cancel_futures=True)


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Open spawned worker processes, one even for one job, so that a trial that kills its process kills no other."""
    # Spawned, never forked: a forked child hangs once OpenMP has run in the parent (pytorch issues 2245, 17199).
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    executor = ProcessPoolExecutor(jobs, context, starting.start_process, (reports,))
    try:
        with _single_threaded_children(), _main_module_hidden():
            # A process starts with each submission that finds none idle, and none is before it has imported torch: so
            # all start here, and inherit what is set here.
            for _ in range(jobs):
                executor.submit(os.getpid)
        yield Workers(executor, reports)
    except BaseException:
        for process in context.active_children():
            process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    else:
        executor.shutdown()
    finally:
        reports.close()
        reports.cancel_join_thread()


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Have OpenMP start in the children with one thread, before torch is imported there."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep spawned children from running the user's script again.

    They would import `__main__` to find functions pickled from it; ours live in modules. So `initbench.compare(...)`
    works in a script without an `if __name__ == "__main__"` guard.
    """
    main = sys.modules["__main__"]
    names: list[str] = ["__file__", "__spec__"]
    hidden = {name: main.__dict__.pop(name) for name in names if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)
